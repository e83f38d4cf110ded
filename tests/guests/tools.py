# SPDX-License-Identifier: Apache-2.0
"""The host's programs that the harness needs, by package; installs what is missing when root."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tests.guests.cache import Cache
from tests.guests.progress import UnavailableError, run, say

# name -> (Debian package, where it may be). A bare name is looked up in PATH.
_TOOLS: dict[str, tuple[str, tuple[str, ...]]] = {
    "qemu": ("qemu-system-x86", ("qemu-system-x86_64",)),
    # Before QEMU 8 it is a part of QEMU's own packages.
    "virtiofsd": ("virtiofsd", ("/usr/lib/qemu/virtiofsd", "/usr/libexec/virtiofsd")),
    "bcc": ("python3-bpfcc", ("/usr/lib/python3/dist-packages/bcc/__init__.py",)),
    "bpftrace": ("bpftrace", ("bpftrace",)),
    "node_exporter": ("prometheus-node-exporter", ("prometheus-node-exporter",)),
    "depmod": ("kmod", ("/usr/sbin/depmod", "/sbin/depmod")),
    "gcc": ("gcc", ("gcc",)),
    "libc": ("libc6-dev", ("/usr/include/stdio.h",)),
    "make": ("make", ("make",)),
    "flex": ("flex", ("flex",)),
    "bison": ("bison", ("bison",)),
    "bc": ("bc", ("bc",)),
    "xz": ("xz-utils", ("xz",)),
    "pahole": ("dwarves", ("pahole",)),
    "libelf": ("libelf-dev", ("/usr/include/libelf.h",)),
    "buildah": ("buildah", ("buildah",)),
    "crun": ("crun", ("crun",)),
    "mmdebstrap": ("mmdebstrap", ("mmdebstrap",)),
    "libssl": ("libssl-dev", ("/usr/include/openssl/ssl.h",)),
}
BUILD = ("gcc", "libc", "make", "flex", "bison", "bc", "xz", "pahole", "libelf", "libssl", "depmod")


def require(name: str) -> str:
    """Path of one tool, installed first if need be."""
    return require_all((name,))[name]


def require_all(names: tuple[str, ...]) -> dict[str, str]:
    """Paths of several tools, installed first if need be."""
    if missing_packages(names):
        with Cache().lock("apt-get"):  # test processes run at once
            _install(missing_packages(names))
    return {name: str(_find(name)) for name in names}


def missing_packages(names: tuple[str, ...]) -> list[str]:
    """Packages that would bring what is not there."""
    return sorted({_TOOLS[name][0] for name in names if _find(name) is None})


def _find(name: str) -> str | None:
    for place in _TOOLS[name][1]:
        if found := shutil.which(place) or (place if Path(place).is_file() else None):
            return found
    return None


def _install(packages: list[str]) -> None:
    if not packages:
        return
    wanted = " ".join(packages)
    if os.geteuid() != 0:
        raise UnavailableError(f"missing: {wanted} (as root: apt-get install {wanted})")
    say(f"installing with apt-get: {wanted}")
    command = ["apt-get", "-qy", "-o", "Dpkg::Use-Pty=0"]
    run("apt-get update", [*command, "update"])
    run("apt-get install", [*command, "install", "--no-install-recommends", *packages])

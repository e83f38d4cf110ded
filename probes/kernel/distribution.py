# SPDX-License-Identifier: Apache-2.0
"""Package names and install commands of this distribution, from os-release(5).

docs/service.md has the sources of the names.
"""

import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from probes.kernel.host import OS_RELEASE, read_text


class Packages(NamedTuple):
    """Install command and package names of one family of distributions."""

    install: str
    bcc: str
    headers: Callable[[str], str]
    """Returns the name of the headers package for a kernel release (``uname -r``)."""
    install_into_image: str = ""
    """Install command if /usr is read-only and is replaced at a reboot."""


def _debian_headers(release: str) -> str:
    if release.endswith("-pve"):  # Proxmox VE: os-release is Debian's, the kernel is not
        return f"proxmox-headers-{release}"
    return f"linux-headers-{release}"


def _fedora_headers(release: str) -> str:
    if "uek" in release:  # Oracle Linux ships two kernels
        return f"kernel-uek-devel-{release}"
    # Variants (6.10.3-200.fc40.x86_64+rt) and ELRepo's kernels have names of their own, but each
    # provides this (kernel.spec of Fedora, kernel-ml.spec of ELRepo).
    if "+" in release or "elrepo" in release:
        return f"'kernel-devel-uname-r = {release}'"
    return f"kernel-devel-{release}"


def _suse_headers(release: str) -> str:
    """Name of the running kernel's headers; without a version, zypper installs the newest.

    Each kernel package provides its name with the version that ``uname -r`` shows
    (kernel-binary.spec.in: ``Provides: %name = %version-%source_rel``).
    """
    version, dash, flavor = release.rpartition("-")
    return f"kernel-{flavor}-devel={version}" if dash else "kernel-default-devel"


def _arch_headers(release: str) -> str:
    for flavor in ("rt-lts", "lts", "zen", "hardened", "rt"):
        if release.endswith(f"-{flavor}"):
            return f"linux-{flavor}-headers"
    return "linux-headers"


def _alpine_headers(release: str) -> str:
    return f"linux-{release.rpartition('-')[2]}-dev"


_DEBIAN = Packages("apt install", "python3-bpfcc", _debian_headers)
_FEDORA = Packages("dnf install", "python3-bcc", _fedora_headers, "rpm-ostree install")
_SUSE = Packages("zypper install", "python3-bcc", _suse_headers, "transactional-update pkg install")

FAMILIES: Mapping[str, Packages] = {
    "debian": _DEBIAN,
    "ubuntu": _DEBIAN,
    "fedora": _FEDORA,
    "rhel": _FEDORA,
    "centos": _FEDORA,
    "suse": _SUSE,
    "opensuse": _SUSE,
    "sles": _SUSE,
    "arch": Packages("pacman -S", "python-bcc", _arch_headers),
    "alpine": Packages("apk add", "py3-bcc", _alpine_headers),
}
"""Keyed by ID, or by one of ID_LIKE."""

_WITHOUT_PACKAGES = frozenset({"bottlerocket", "cos", "flatcar", "rhcos", "talos", "ubuntu-core"})
"""IDs of systems that are delivered as a whole, to run containers."""

_TRANSACTIONAL = frozenset(
    {"opensuse-microos", "opensuse-leap-micro", "leap-micro", "sle-micro", "sl-micro"}
)


def install_bcc(os_release: Path = OS_RELEASE) -> str:
    """How to get BCC and its Python package here: a command, or why there is none."""
    return _install(os_release, lambda family: family.bcc)


def install_headers(release: str, os_release: Path = OS_RELEASE) -> str:
    """How to get the headers of the kernel ``release`` here: a command, or why there is none."""
    return _install(os_release, lambda family: family.headers(release))


def _install(os_release: Path, package: Callable[[Packages], str]) -> str:
    fields = _fields(os_release)
    identity = fields.get("ID", "")
    if identity in _WITHOUT_PACKAGES or "OPENSHIFT_VERSION" in fields:
        return (
            f"{fields.get('NAME') or identity} has no package manager: run hvoscope in a container "
            "with BCC and these kernel headers, or load programs from `hvoscope compile`"
        )
    family = _family(fields)
    if family is None:
        debian, fedora = (f"{each.install} {package(each)}" for each in (_DEBIAN, _FEDORA))
        return f"{debian} (Fedora: {fedora})"
    if family.install_into_image and _is_image(identity, fields, os_release):
        return f"{family.install_into_image} {package(family)}, then reboot"
    return f"{family.install} {package(family)}"


def _family(fields: Mapping[str, str]) -> Packages | None:
    """Packages of this distribution; None if it is not known."""
    names = [fields.get("ID", ""), *fields.get("ID_LIKE", "").split()]
    return next((FAMILIES[name] for name in names if name in FAMILIES), None)


def _is_image(identity: str, fields: Mapping[str, str], os_release: Path) -> bool:
    """Whether /usr is read-only, so that the usual install command fails."""
    if identity in _TRANSACTIONAL or "OSTREE_VERSION" in fields:
        return True
    try:  # RHEL's image mode has no OSTREE_VERSION
        return (os_release.parent.parent / "run/ostree-booted").exists()
    except OSError:
        return False


def _fields(path: Path) -> dict[str, str]:
    """Fields of the file, or of /usr/lib/os-release if it can't be read."""
    text = read_text(path)
    if text is None:
        text = read_text(path.parent.parent / "usr/lib/os-release") or ""
    found = {}
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        if equals and not name.startswith("#"):
            found[name.strip()] = _unquoted(value)
    return found


def _unquoted(value: str) -> str:
    """Value as a shell reads it; empty if a quote is not closed."""
    try:
        return "".join(shlex.split(value))
    except ValueError:
        return ""

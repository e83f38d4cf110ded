# SPDX-License-Identifier: Apache-2.0
"""Package names and install commands of this distribution, from os-release(5)."""

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


def _fedora_headers(release: str) -> str:
    flavor = "kernel-uek" if "uek" in release else "kernel"  # Oracle Linux ships both
    return f"{flavor}-devel-{release}"


def _suse_headers(release: str) -> str:
    return f"kernel-{release.rpartition('-')[2]}-devel"


def _arch_headers(release: str) -> str:
    for flavor in ("lts", "zen", "hardened", "rt"):
        if release.endswith(f"-{flavor}"):
            return f"linux-{flavor}-headers"
    return "linux-headers"


def _alpine_headers(release: str) -> str:
    return f"linux-{release.rpartition('-')[2]}-dev"


_DEBIAN = Packages("apt install", "python3-bpfcc", lambda release: f"linux-headers-{release}")
_FEDORA = Packages("dnf install", "python3-bcc", _fedora_headers)
_SUSE = Packages("zypper install", "python3-bcc", _suse_headers)

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


def install_bcc(os_release: Path = OS_RELEASE) -> str:
    """Command that installs BCC and its Python package."""
    family = _family(os_release)
    if family is None:
        return f"{_DEBIAN.install} {_DEBIAN.bcc} (Fedora: {_FEDORA.install} {_FEDORA.bcc})"
    return f"{family.install} {family.bcc}"


def install_headers(release: str, os_release: Path = OS_RELEASE) -> str:
    """Command that installs the headers of the kernel ``release``."""
    family = _family(os_release)
    if family is None:
        debian, fedora = _DEBIAN.headers(release), _FEDORA.headers(release)
        return f"{_DEBIAN.install} {debian} (Fedora: {_FEDORA.install} {fedora})"
    return f"{family.install} {family.headers(release)}"


def _family(os_release: Path) -> Packages | None:
    """Packages of this distribution; None if it is not known."""
    fields = _fields(os_release)
    names = [fields.get("ID", ""), *fields.get("ID_LIKE", "").split()]
    return next((FAMILIES[name] for name in names if name in FAMILIES), None)


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
    try:
        return "".join(shlex.split(value))
    except ValueError:  # unclosed quote
        return ""

# SPDX-License-Identifier: Apache-2.0
"""How this distribution's packages are installed, by os-release(5)."""

import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from probes.kernel.host import OS_RELEASE, read_text


class Packages(NamedTuple):
    """One family of distributions: how it installs, and what it calls what hvoscope needs."""

    install: str
    bcc: str
    headers: Callable[[str], str]
    """Package of the headers of a kernel, by its release as uname -r has it."""


def _fedora_headers(release: str) -> str:
    flavour = "kernel-uek" if "uek" in release else "kernel"  # Oracle Linux has both
    return f"{flavour}-devel-{release}"


def _suse_headers(release: str) -> str:
    return f"kernel-{release.rpartition('-')[2]}-devel"


def _arch_headers(release: str) -> str:
    for flavour in ("lts", "zen", "hardened", "rt"):
        if release.endswith(f"-{flavour}"):
            return f"linux-{flavour}-headers"
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
"""By ID, or one of ID_LIKE."""


def install_bcc(os_release: Path = OS_RELEASE) -> str:
    """The command that installs BCC and its Python package."""
    family = _family(os_release)
    if family is None:
        return f"{_DEBIAN.install} {_DEBIAN.bcc} (Fedora: {_FEDORA.install} {_FEDORA.bcc})"
    return f"{family.install} {family.bcc}"


def install_headers(release: str, os_release: Path = OS_RELEASE) -> str:
    """The command that installs the headers of the kernel ``release``."""
    family = _family(os_release)
    if family is None:
        debian, fedora = _DEBIAN.headers(release), _FEDORA.headers(release)
        return f"{_DEBIAN.install} {debian} (Fedora: {_FEDORA.install} {fedora})"
    return f"{family.install} {family.headers(release)}"


def _family(os_release: Path) -> Packages | None:
    """None where the distribution is none of those known, or can't be told."""
    fields = _fields(os_release)
    names = [fields.get("ID", ""), *fields.get("ID_LIKE", "").split()]
    return next((FAMILIES[name] for name in names if name in FAMILIES), None)


def _fields(path: Path) -> dict[str, str]:
    """Of the file, or the one in /usr/lib where it is not there."""
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
    except ValueError:  # a quote that nothing closes
        return ""

# SPDX-License-Identifier: Apache-2.0
"""Packages of any Debian suite, without touching the system's own apt set-up.

A private apt directory per suite lies in the cache. It uses the system's mirror, proxies and
keyring, installs nothing, and needs no root.
"""

from __future__ import annotations

import functools
import os
import re
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.guests.cache import Cache
from tests.guests.progress import CommandError, UnavailableError, run, say

_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_MIRROR = "HVOSCOPE_DEBIAN_MIRROR"
_SECURITY_MIRROR = "HVOSCOPE_DEBIAN_SECURITY_MIRROR"
_FRESH_S = 7 * 24 * 3600

# As dpkg -x does, but into lib -> usr/lib, which that would replace by a directory.
_UNPACK = 'dpkg-deb --fsys-tarfile "$1" | tar -C "$2" -x --keep-directory-symlink'

_CONFIG = """\
Dir::State "{home}/state";
Dir::State::status "{home}/status";
Dir::Cache "{home}/cache";
Dir::Etc::sourcelist "{home}/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
#clear APT::Architectures;
APT::Architecture "amd64";
APT::Architectures {{ "amd64"; }};
APT::Sandbox::User "{user}";
Acquire::Languages "none";
Acquire::Check-Valid-Until "{check}";
#clear Acquire::IndexTargets::deb::Contents-deb;
#clear Acquire::IndexTargets::deb::DEP-11;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
"""


@dataclass(frozen=True)
class Suite:
    """A Debian suite by its codename."""

    name: str
    security: bool = True
    """Has updates in the security archive."""
    check_valid_until: bool = True
    """Refuse indexes past their date; a mirror that lags behind sid has only such."""


class Apt:
    """One suite's packages."""

    def __init__(self, cache: Cache, suite: Suite) -> None:
        self._cache = cache
        self._suite = suite
        self._home = cache.root / f"apt-{suite.name}"

    def candidate(self, package: str) -> str:
        """The version that this suite would install."""
        return self._field(package, "Version")

    def names(self, prefix: str) -> list[str]:
        """Names of all packages that begin with ``prefix`` and that the suite really has."""
        self.refresh()
        return run("apt-cache", [*self._command("apt-cache"), "pkgnames", prefix]).split()

    def depends(self, package: str) -> list[str]:
        """Names of the packages that this one needs; of alternatives, the first."""
        return dependencies(self._field(package, "Depends"))

    def unpack(self, packages: list[str], into: Path) -> None:
        """Downloads packages and spreads their files below `into`."""
        self.refresh()
        wanted = [f"{package}={self.candidate(package)}" for package in packages]
        say(f"downloading from Debian {self._suite.name}: {' '.join(wanted)}")
        into.mkdir(parents=True, exist_ok=True)
        # Both lib/ and usr/lib/ occur in packages; on a system of today they are the same place.
        (into / "usr/lib").mkdir(parents=True, exist_ok=True)
        if not (into / "lib").exists():
            (into / "lib").symlink_to("usr/lib")
        self._download(wanted, into)
        for deb in sorted(into.glob("*.deb")):
            say(f"  {deb.name}: {deb.stat().st_size / 1e6:.1f} MB")
            run("unpacking", ["sh", "-c", _UNPACK, "sh", str(deb), str(into)])
            deb.unlink()

    def refresh(self, *, now: bool = False) -> None:
        """Sees to it that there are package lists, and that they are not too old."""
        with self._cache.lock(self._home.name):
            stamp = self._home / "updated"
            age = time.time() - stamp.stat().st_mtime if stamp.exists() else None
            if age is not None and age < _FRESH_S and not now:
                return
            self._write_config()
            try:
                say(f"downloading the package lists of Debian {self._suite.name}")
                run("apt-get update", [*self._command("apt-get"), "update", "--error-on=any"])
            except CommandError as error:
                if age is None:
                    raise UnavailableError(f"Debian {self._suite.name}: {error}") from error
                say(f"keeping lists that are {age / 86400:.1f} days old: {error}")
                return
            stamp.touch()

    def _download(self, wanted: list[str], into: Path) -> None:
        try:
            run("apt-get download", [*self._command("apt-get"), "download", *wanted], cwd=into)
        except CommandError as error:
            os.utime(self._home / "updated", (0, 0))  # a mirror drops old versions
            raise UnavailableError(f"{error}\nThe next run looks for newer versions.") from error

    def _field(self, package: str, field: str) -> str:
        self.refresh()
        shown = run(
            f"apt-cache show {package}",
            [*self._command("apt-cache"), "show", "--no-all-versions", package],
        )
        found = re.search(rf"^{field}: (.*)$", shown, re.MULTILINE)
        return found[1] if found else ""

    def _command(self, program: str) -> list[str]:
        return [program, "-q", f"-c={self._home / 'apt.conf'}"]

    def _write_config(self) -> None:
        if not _KEYRING.exists():
            raise UnavailableError(f"{_KEYRING} is missing: install debian-archive-keyring")
        for part in ("state/lists/partial", "cache/archives/partial"):
            (self._home / part).mkdir(parents=True, exist_ok=True)
        (self._home / "status").touch()  # as if nothing were installed
        (self._home / "sources.list").write_text("".join(self._sources()))
        config = _CONFIG.format(
            home=self._home,
            # apt's own unprivileged user cannot write into root's home.
            user="root" if os.geteuid() == 0 else "",
            check="true" if self._suite.check_valid_until else "false",
        )
        (self._home / "apt.conf").write_text(config)

    def _sources(self) -> list[str]:
        line = f"deb [signed-by={_KEYRING}] {{}} {{}} main\n"
        sources = [line.format(mirror("debian", _MIRROR), self._suite.name)]
        if self._suite.security:
            security = mirror("debian-security", _SECURITY_MIRROR)
            sources.append(line.format(security, f"{self._suite.name}-security"))
        return sources


def dependencies(field: str) -> list[str]:
    """`a (= 1), b | c` -> a, b."""
    return [
        found[0].strip()
        for part in field.split(",")
        if (found := re.match(r"\s*[a-z0-9.+-]+", part))
    ]


def newest_version(versions: Iterable[str]) -> str:
    """The newest of some package versions, by Debian's order: 7.3~rc7 comes before 7.3."""

    def order(one: str, other: str) -> int:
        later = subprocess.run(["dpkg", "--compare-versions", one, "gt", other], check=False)
        return 1 if later.returncode == 0 else -1

    return max(versions, key=functools.cmp_to_key(order))


def mirror(archive: str, override: str) -> str:
    """The address of `debian` or `debian-security`, as the system's apt has it."""
    if own := os.environ.get(override):
        return own
    form = ["--format", "$(REPO_URI)", "Created-By: Packages"]
    addresses = run("apt-get indextargets", ["apt-get", "indextargets", *form]).splitlines()
    found = pick_mirror(archive, addresses)
    if found is None:
        raise UnavailableError(f"apt knows no mirror of {archive}: set {override} to one")
    return found


def pick_mirror(archive: str, addresses: list[str]) -> str | None:
    """The first address whose path ends in the archive's name."""
    return next((a for a in addresses if a.rstrip("/").endswith(f"/{archive}")), None)

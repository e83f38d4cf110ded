# SPDX-License-Identifier: Apache-2.0
"""Debian's own kernels, as they are: downloaded and unpacked, never installed."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.guests import tools
from tests.guests.apt import Apt, Suite, newest_version
from tests.guests.cache import Cache
from tests.guests.kernels import Kernel
from tests.guests.progress import UnavailableError, run, say

# It has all that a virtual machine needs and a quarter of the size of the others.
_FLAVOUR = "cloud-amd64"
# Of newer kernels the image package is empty and names three others. What else the packages depend
# on serves to install them or to build modules.
_OURS = tuple(f"linux-{part}-" for part in ("image", "base", "binary", "modules", "headers"))


@dataclass(frozen=True)
class Image:
    """A kernel of a suite, with headers for BCC."""

    suite: Suite
    series: str = ""
    """`6.12`: the newest of these. Empty: what the suite installs today."""
    below: str = ""
    """`6.12.114`: only releases before it."""
    headers: Suite | None = None
    """Where headers come from, of whatever version, when the kernel's own are no longer there."""
    flavour: str = _FLAVOUR

    @property
    def package(self) -> str:
        """The package that always leads to the suite's newest kernel."""
        return f"linux-image-{self.flavour}"

    def provide(self, name: str, cache: Cache, append: str = "") -> Kernel:
        """The kernel, downloaded if it is not in the cache."""
        apt = Apt(cache, self.suite)
        image = self._image(apt)
        borrowed = Apt(cache, self.headers) if self.headers else None
        lender = f"linux-headers-{self.flavour}"
        wanted = packages(apt, [image] if borrowed else [image, image.replace("image", "headers")])
        entry = f"{name}-{apt.candidate(image)}"
        if borrowed:
            entry += f"-headers-{borrowed.candidate(lender)}"

        def make(into: Path) -> None:
            apt.unpack(wanted, into)
            if borrowed:
                borrowed.unpack(packages(borrowed, [lender]), into)
            release = vmlinuz_of(into)[0]
            modules = into / "lib/modules" / release
            if borrowed:
                _link_headers(into, modules)
            if (modules / "modules.builtin").exists():
                run("depmod", [tools.require("depmod"), "-b", str(into), release])
            say(f"{name}: {release} of Debian {self.suite.name}, {apt.candidate(image)}")

        return _kernel(name, cache.entry(entry, make), append)

    def _image(self, apt: Apt) -> str:
        if not self.series:
            return self.package
        found = choose(apt.names("linux-image-"), self.flavour, self.series, self.below)
        if not found:
            wanted = f"{self.series}.x" + (f" before {self.below}" if self.below else "")
            raise UnavailableError(f"Debian {self.suite.name} has no kernel {wanted}")
        return found


@dataclass(frozen=True)
class Newest:
    """The newest kernel that any of some suites installs today."""

    suites: tuple[Suite, ...]

    def provide(self, name: str, cache: Cache, append: str = "") -> Kernel:
        """As ``Image.provide``, of the suite whose version is the newest."""
        return self.choose(cache).provide(name, cache, append)

    def choose(self, cache: Cache) -> Image:
        """The image with the newest version."""
        images = [Image(suite) for suite in self.suites]
        versions = {Apt(cache, image.suite).candidate(image.package): image for image in images}
        return versions[newest_version(versions)]


def choose(names: Iterable[str], flavour: str, series: str, below: str = "") -> str:
    """The image package of the newest release of a series, and before ``below``; "" for none."""
    form = re.compile(rf"linux-image-({re.escape(series)}\.\d+[+~][^-]*)-{re.escape(flavour)}$")
    found = {
        release_key(match[1]): name
        for name in names
        if (match := form.match(name)) and (not below or release_key(match[1]) < release_key(below))
    }
    return found[max(found)] if found else ""


def release_key(release: str) -> tuple[int, ...]:
    """`6.12.115+deb13.1` -> (6, 12, 115, 13, 1), which sorts as releases do."""
    return tuple(int(number) for number in re.findall(r"\d+", release))


def packages(apt: Apt, first: Iterable[str]) -> list[str]:
    """The packages that hold a kernel's files: those given, and all that they lead to.

    A suite that has moved on may keep an image and lose its modules: they are left out.
    """
    there = set(apt.names("linux-"))
    found: list[str] = []
    ahead = list(first)
    while ahead:
        package = ahead.pop(0)
        if package in found or package not in there or not package.startswith(_OURS):
            continue
        found.append(package)
        ahead += apt.depends(package)
    # What has no number in its name only leads to these, and is what a mirror loses first.
    return [package for package in found if re.search(r"-\d", package)]


def vmlinuz_of(tree: Path) -> tuple[str, Path]:
    """The release and the image of the only kernel in a tree of unpacked packages."""
    places = [
        *((p.name.removeprefix("vmlinuz-"), p) for p in tree.glob("boot/vmlinuz-*")),
        *((p.parent.name, p) for p in tree.glob("lib/modules/*/vmlinuz")),  # since 7.x
    ]
    (found,) = places
    return found


def _link_headers(tree: Path, modules: Path) -> None:
    """Point at headers of another version, as a package's own links would."""
    modules.mkdir(parents=True, exist_ok=True)
    folders = {h.name.endswith("-common"): h.name for h in (tree / "usr/src").iterdir()}
    for common, link in ((False, "build"), (True, "source")):
        (modules / link).unlink(missing_ok=True)
        (modules / link).symlink_to(f"/usr/src/{folders[common]}")


def _kernel(name: str, tree: Path, append: str) -> Kernel:
    release, vmlinuz = vmlinuz_of(tree)
    modules = tree / "lib/modules" / release
    headers = sorted((tree / "usr/src").iterdir())
    return Kernel(
        name=name,
        release=release,
        vmlinuz=vmlinuz,
        modules=modules if (modules / "modules.dep").exists() else None,
        # build and source in the module tree point to the headers by these absolute paths.
        links=((f"/lib/modules/{release}", modules), *((f"/usr/src/{h.name}", h) for h in headers)),
        append=append,
    )

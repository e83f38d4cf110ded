# SPDX-License-Identifier: Apache-2.0
"""Debian's own kernels, as they are: downloaded and unpacked, never installed."""

from __future__ import annotations

from pathlib import Path

from tests.kernel import tools
from tests.kernel.apt import Apt, Suite
from tests.kernel.cache import Cache
from tests.kernel.kernels import Kernel
from tests.kernel.progress import run, say

# It has all that a virtual machine needs and a quarter of the size of the others.
_FLAVOUR = "cloud-amd64"
# Of newer kernels the image package is empty and names three others. What else the packages depend
# on serves to install them or to build modules.
_OURS = tuple(f"linux-{part}-" for part in ("image", "base", "binary", "modules", "headers"))


def provide(
    name: str, suite: Suite, cache: Cache, append: str = "", flavour: str = _FLAVOUR
) -> Kernel:
    """The suite's newest kernel of a flavour, with its headers."""
    apt = Apt(cache, suite)
    version = apt.candidate(f"linux-image-{flavour}")

    def make(into: Path) -> None:
        apt.unpack(packages(apt, flavour), into)
        release = _release(into)
        run("depmod", [tools.require("depmod"), "-b", str(into), release])
        say(f"{name}: {release} of Debian {suite.name}, {version}")

    tree = cache.entry(f"{name}-{version}", make)
    return _kernel(name, tree, append)


def packages(apt: Apt, flavour: str = _FLAVOUR) -> list[str]:
    """The packages that hold files: all that the metapackages lead to."""
    metapackages = [f"linux-{part}-{flavour}" for part in ("image", "headers")]
    found: list[str] = []
    ahead = list(metapackages)
    while ahead:
        package = ahead.pop(0)
        if package in found or not package.startswith(_OURS):
            continue
        found.append(package)
        ahead += apt.depends(package)
    return [package for package in found if package not in metapackages]


def _release(tree: Path) -> str:
    """The kernel's release: the name of the only module tree there is."""
    (built,) = tree.glob("lib/modules/*/modules.builtin")
    return built.parent.name


def _kernel(name: str, tree: Path, append: str) -> Kernel:
    release = _release(tree)
    modules = tree / "lib/modules" / release
    places = (tree / f"boot/vmlinuz-{release}", modules / "vmlinuz")  # the latter since 7.x
    headers = sorted((tree / "usr/src").iterdir())
    return Kernel(
        name=name,
        release=release,
        vmlinuz=next(place for place in places if place.exists()),
        modules=modules,
        # build and source in the module tree point to the headers by these absolute paths.
        links=((f"/lib/modules/{release}", modules), *((f"/usr/src/{h.name}", h) for h in headers)),
        append=append,
    )

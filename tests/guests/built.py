# SPDX-License-Identifier: Apache-2.0
"""Kernels built from Debian's sources, with edits and a small configuration."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.guests import tools
from tests.guests.apt import Apt, Suite
from tests.guests.cache import Cache, digest
from tests.guests.edits import Edit, apply_all
from tests.guests.kernels import Kernel
from tests.guests.progress import CommandError, run, run_long, say

_CONFIG = Path(__file__).with_name("patched.config")
"""Options of every kernel built here; a file of its own name, if there is one, comes on top."""
_RECIPE = 1  # count up when the steps below change what they make
# All that BCC's includes reach.
_HEADERS = ("include", "arch/x86/include", "Makefile", ".config")
_MAKE = ("make", "ARCH=x86_64", "KBUILD_BUILD_USER=hvoscope", "KBUILD_BUILD_HOST=hvoscope")


@dataclass(frozen=True)
class Recipe:
    """A package with a kernel's source, and what is changed in it."""

    suite: Suite
    package: str
    edits: tuple[Edit, ...]
    files: Mapping[str, str] = field(default_factory=dict)
    """New files by their paths in the source, written before the edits are made."""
    variants: Mapping[str, tuple[Edit, ...]] = field(default_factory=dict)
    """Further edits by the name of what they make. Each is built in the tree as the one before left
    it, so that only what it touches is compiled again."""

    def provide(self, name: str, cache: Cache, append: str = "") -> Kernel:
        """The kernel, built now (10 minutes) unless the cache has a build of the same inputs."""
        return _kernel(name, self.tree(name, cache), append)

    def tree(self, name: str, cache: Cache) -> Path:
        """What ``_keep`` keeps; of each variant, in a folder of its name."""
        tools.require_all(tools.BUILD)
        apt = Apt(cache, self.suite)
        config = requested_config(name)
        key = digest(
            source=apt.candidate(self.package),
            edits=[
                str(edit) for edit in (*self.edits, *self.files.items(), *self.variants.items())
            ],
            config=config,
            compiler=run("gcc --version", ["gcc", "--version"]).splitlines()[0],
            recipe=_RECIPE,
        )
        return cache.entry(f"{name}-{key}", lambda into: self._make(name, apt, config, into))

    def _make(self, name: str, apt: Apt, config: str, into: Path) -> None:
        work = into / "work"
        source = _unpack(apt, self.package, work)
        for path, text in self.files.items():
            with (source / path).open("x") as file:
                file.write(text)
        apply_all(source, self.edits)
        _configure(source, name, config)
        _build(name, source, into)
        for variant, edits in self.variants.items():
            apply_all(source, edits)
            (into / variant).mkdir()
            _build(f"{name} ({variant})", source, into / variant)
        shutil.rmtree(work)


@dataclass(frozen=True)
class Variant:
    """One of a recipe's variants."""

    recipe: Recipe
    base: str
    """The recipe's own name."""
    variant: str

    def provide(self, name: str, cache: Cache, append: str = "") -> Kernel:
        """As ``Recipe.provide``."""
        return _kernel(name, self.recipe.tree(self.base, cache) / self.variant, append)


def requested_config(name: str) -> str:
    """Options of a test kernel: patched.config, and over it those of `<name>.config`."""
    own = _CONFIG.with_name(f"{name}.config")
    base = _CONFIG.read_text()
    if own == _CONFIG or not own.exists():
        return base
    return override(base, own.read_text())


def override(base: str, fragment: str) -> str:
    """`base` without the options that `fragment` names, and then `fragment`."""
    named = {option_of(line) for line in fragment.splitlines()} - {""}
    kept = [line for line in base.splitlines() if option_of(line) not in named]
    return "\n".join([*kept, fragment])


def option_of(line: str) -> str:
    """The option that a line of a configuration sets or unsets; empty for any other line."""
    found = re.match(r"(?:# )?(CONFIG_\w+)(?:=| is not set)", line)
    return found[1] if found else ""


def missing_options(requested: str, config: str) -> list[str]:
    """Lines of `requested` that `config` does not fulfil."""
    lines = set(config.splitlines())
    missing = []
    for line in requested.splitlines():
        if line.startswith("CONFIG_"):
            fulfilled = line in lines
        elif line.endswith(" is not set"):
            option = line.removeprefix("# ").split()[0]
            fulfilled = not any(other.startswith(f"{option}=") for other in lines)
        else:
            continue
        if not fulfilled:
            missing.append(line)
    return missing


def _unpack(apt: Apt, package: str, work: Path) -> Path:
    apt.unpack([package], work)
    (archive,) = (work / "usr/src").glob("linux-source-*.tar.xz")
    say(f"unpacking {archive.name}")
    run("tar", ["tar", "-C", str(work), "-xf", str(archive)])
    archive.unlink()
    (source,) = work.glob("linux-source-*")
    return source


def _configure(source: Path, name: str, config: str) -> None:
    requested = source / "requested.config"
    requested.write_text(config)
    merge = ["scripts/kconfig/merge_config.sh", "-m", ".config", requested.name]
    for command in ([*_MAKE, "tinyconfig"], merge, [*_MAKE, "olddefconfig"]):
        run(" ".join(command), command, cwd=source)
    if missing := missing_options(config, (source / ".config").read_text()):
        raise CommandError(f"{name}: the kernel does not take {', '.join(missing)}")


def _build(name: str, source: Path, into: Path) -> None:
    jobs = len(os.sched_getaffinity(0))
    log = into / "build.log"
    say(f"building the kernel {name} with {jobs} jobs; this takes minutes, once")
    run_long(
        "make bzImage",
        [*_MAKE, f"-j{jobs}", "bzImage"],
        cwd=source,
        log=log,
        state=lambda: f"{log.read_text(errors='replace').count(' CC ')} files compiled",
    )
    _keep(source, into)


def _kernel(name: str, tree: Path, append: str) -> Kernel:
    release = (tree / "release").read_text().strip()
    headers = tree / "headers"
    return Kernel(
        name=name,
        release=release,
        vmlinuz=tree / "bzImage",
        modules=None,
        links=tuple((f"/lib/modules/{release}/{at}", headers) for at in ("build", "source")),
        append=append,
    )


def _keep(source: Path, into: Path) -> None:
    """What a guest needs, out of the two gigabytes that a build leaves."""
    shutil.copy2(source / "arch/x86/boot/bzImage", into / "bzImage")
    shutil.copy2(source / "include/config/kernel.release", into / "release")
    for name in _HEADERS:
        kept = into / "headers" / name
        kept.parent.mkdir(parents=True, exist_ok=True)
        if (source / name).is_dir():
            shutil.copytree(source / name, kept, symlinks=True)
        else:
            shutil.copy2(source / name, kept)

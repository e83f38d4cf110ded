# SPDX-License-Identifier: Apache-2.0
"""A kernel with the first HVO's function names, built from Debian's 6.1 source."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from tests.kernel import tools
from tests.kernel.apt import Apt, Suite
from tests.kernel.cache import Cache, digest
from tests.kernel.edits import apply_all
from tests.kernel.kernels import Kernel
from tests.kernel.patched_edits import EDITS
from tests.kernel.progress import CommandError, run, run_long, say

_SOURCE = "linux-source-6.1"  # what the edits fit; the package moves on with 6.1.y
_CONFIG = Path(__file__).with_suffix(".config")
"""Options of every leg built here; a file of the leg's own name, if there is one, comes on top."""
_RECIPE = 1  # count up when the steps below change what they make
# All that BCC's includes reach.
_HEADERS = ("include", "arch/x86/include", "Makefile", ".config")
_MAKE = ("make", "ARCH=x86_64", "KBUILD_BUILD_USER=hvoscope", "KBUILD_BUILD_HOST=hvoscope")


def provide(name: str, suite: Suite, cache: Cache, append: str = "") -> Kernel:
    """The kernel, built now (some minutes) unless its inputs are those of a build in the cache."""
    tools.require_all(tools.BUILD)
    apt = Apt(cache, suite)
    config = requested_config(name)
    key = digest(
        source=apt.candidate(_SOURCE),
        edits=[str(edit) for edit in EDITS],
        config=config,
        compiler=run("gcc --version", ["gcc", "--version"]).splitlines()[0],
        recipe=_RECIPE,
    )
    tree = cache.entry(f"{name}-{key}", lambda into: _make(apt, config, into))
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


def requested_config(name: str) -> str:
    """The options of a leg: patched.config, and over it what `<name>.config` says otherwise."""
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


def _make(apt: Apt, config: str, into: Path) -> None:
    work = into / "work"
    source = _unpack(apt, work)
    apply_all(source, EDITS)
    _configure(source, config)
    jobs = len(os.sched_getaffinity(0))
    log = into / "build.log"
    say(f"building the patched kernel with {jobs} jobs; this takes minutes, once")
    run_long(
        "make bzImage",
        [*_MAKE, f"-j{jobs}", "bzImage"],
        cwd=source,
        log=log,
        state=lambda: f"{log.read_text(errors='replace').count(' CC ')} files compiled",
    )
    _keep(source, into)
    shutil.rmtree(work)


def _unpack(apt: Apt, work: Path) -> Path:
    apt.unpack([_SOURCE], work)
    (archive,) = (work / "usr/src").glob("linux-source-*.tar.xz")
    say(f"unpacking {archive.name}")
    run("tar", ["tar", "-C", str(work), "-xf", str(archive)])
    archive.unlink()
    (source,) = work.glob("linux-source-*")
    return source


def _configure(source: Path, config: str) -> None:
    requested = source / "requested.config"
    requested.write_text(config)
    merge = ["scripts/kconfig/merge_config.sh", "-m", ".config", requested.name]
    for command in ([*_MAKE, "tinyconfig"], merge, [*_MAKE, "olddefconfig"]):
        run(" ".join(command), command, cwd=source)
    if missing := missing_options(config, (source / ".config").read_text()):
        raise CommandError(f"{_CONFIG.name}: the kernel does not take {', '.join(missing)}")


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

# SPDX-License-Identifier: Apache-2.0
"""A kernel module that lets allocations fail on Debian's kernels, which have no fault injection.

It is compiled on the host (a minute) against a test kernel's headers, by Debian's own programs
for that (linux-kbuild) and the host's compiler.
"""

from __future__ import annotations

import shlex
import shutil
from dataclasses import replace
from pathlib import Path

from tests.guests import tools
from tests.guests.apt import Apt
from tests.guests.cache import Cache, digest
from tests.guests.debian import Image, Newest
from tests.guests.kernel_matrix import KERNELS, TRIXIE
from tests.guests.kernels import Kernel
from tests.guests.precompiled import headers_of
from tests.guests.progress import UnavailableError, run

FOLDER = Path("/var/lib/hvoscope/fail_frames")
"""Where a guest finds it."""

_SOURCE = Path(__file__).with_suffix(".c")
# The suite's programs may be newer than the host's C library: these serve all of them.
_LIBRARIES = ("libc6", "libelf1t64", "zlib1g", "libzstd1")
_FOR_X86 = (".real-lsb-64", ".real-x86")
_ELF = b"\x7fELF"


def with_fail_frames(kernel: Kernel) -> Kernel:
    """``kernel``, whose guests find the module in ``FOLDER``."""
    cache = Cache()
    headers = headers_of(kernel, "build")
    key = digest(source=_SOURCE.read_text(), headers=str(headers))
    folder = cache.entry(f"fail-frames-{key}", lambda into: _make(kernel, cache, into))
    return replace(kernel, links=(*kernel.links, (str(FOLDER), folder)))


def _make(kernel: Kernel, cache: Cache, into: Path) -> None:
    tools.require_all(tools.BUILD)
    headers = headers_of(kernel, "build")
    if kernel.release not in headers.name:
        raise UnavailableError(f"{kernel.name}: no module: it has headers of {headers.name}")
    work = into / "work"
    tree = _tree(kernel, cache, work)
    module = work / "module"
    module.mkdir()
    (module / _SOURCE.name).write_bytes(_SOURCE.read_bytes())
    (module / "Kbuild").write_text(f"obj-m := {_SOURCE.stem}.o\n")
    make = ["make", "-C", str(tree), "ARCH=x86", f"KERNELRELEASE={kernel.release}", "CC=gcc"]
    # An option of GCC 14, which the kernel may have been built by.
    make += ["CONFIG_CC_HAS_MIN_FUNCTION_ALIGNMENT=", f"M={module}", "modules"]
    run("make fail_frames.ko", make)
    (module / f"{_SOURCE.stem}.ko").rename(into / f"{_SOURCE.stem}.ko")
    shutil.rmtree(work)


def _tree(kernel: Kernel, cache: Cache, work: Path) -> Path:
    """The headers, and the programs that make modules, in one place."""
    headers, tree = headers_of(kernel, "build"), work / "tree"
    Apt(cache, TRIXIE).unpack(list(_LIBRARIES), work / "libraries")
    package = (headers / "scripts").readlink().parent.name
    Apt(cache, _image(kernel, cache).suite).unpack([package], work / "kbuild")
    run("cp", ["cp", "-rT", str(headers_of(kernel, "source")), str(tree)])
    for name in ("scripts", "tools"):
        (tree / name).unlink()  # links that lead nowhere
    run("cp", ["cp", "-rT", str(work / "kbuild/usr/lib" / package), str(tree)])
    for name in ("include", "arch", "Module.symvers", ".config"):
        run("cp", ["cp", "-rL", str(headers / name), str(tree)])
    wrap(tree, work / "libraries")
    return tree


def _image(kernel: Kernel, cache: Cache) -> Image:
    source = KERNELS[kernel.name].source
    if isinstance(source, Newest):
        return source.choose(cache)
    if not isinstance(source, Image):
        raise UnavailableError(f"{kernel.name}: no module: it is none of Debian's kernels")
    return source


def wrap(tree: Path, libraries: Path) -> None:
    """Let each program in ``tree`` run with these libraries."""
    lib = libraries / "usr/lib/x86_64-linux-gnu"
    words = (f"{lib}/ld-linux-x86-64.so.2", "--library-path", str(lib))
    for path in [path for part in ("scripts", "tools") for path in (tree / part).rglob("*")]:
        if ".real-" in path.name or not _is_program(path):
            continue
        # Some only look at what they are given, and run the one that it is for.
        own = (path.with_name(f"{path.name}{for_what}") for for_what in _FOR_X86)
        real = next((other for other in own if other.exists()), None)
        real = real or path.rename(path.with_name(f"{path.name}.elf"))
        path.unlink(missing_ok=True)
        path.write_text(f'#!/bin/sh\nexec {shlex.join((*words, str(real)))} "$@"\n')
        path.chmod(0o755)


def _is_program(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(4) == _ELF

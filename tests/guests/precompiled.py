# SPDX-License-Identifier: Apache-2.0
"""Programs for a test kernel, compiled on the host: an emulated guest takes ten times as long.

What the product would compile in the guest is composed here from the guest's own files (symbols and
BTF, read in one boot) and from the machine that the guest will have, and compiled against the same
headers. ``python -m tests.guests.precompiled TREE FOLDER`` is the part that loads LLVM.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from probes.backend import FULL, RANGE
from probes.bpf.bcc_import import bcc_version, import_bcc
from probes.bpf.compiler import compile_text
from probes.bpf.compose import ComposeError, compose
from probes.bpf.program_cache import DEFAULT_FOLDER, ProgramCache, key_of, shipped_path
from probes.kernel.btf import Btf
from probes.kernel.host import Host
from probes.kernel.kallsyms import has_trampolines, read_symbols
from tests.guests.cache import Cache, digest
from tests.guests.kernels import Kernel
from tests.guests.progress import run, say
from tests.guests.qemu import run_in_guest

VARIANTS = tuple(
    (mode, fentry, stream)
    for mode, stream in ((FULL, False), (RANGE, False), (FULL, True))
    for fentry in (False, True)
)
"""Mode, trampolines, stream."""

ELSEWHERE = Path("/var/lib/hvoscope/programs")
"""Where guests find the same programs as if `hvoscope compile` had made them elsewhere."""

_READ = """\
cd "$0" || exit 1
mkdir -p proc/sys/kernel sys/kernel/btf
cp /proc/kallsyms proc/kallsyms
cp /proc/sys/kernel/version proc/sys/kernel/version
[ ! -e /sys/kernel/btf/vmlinux ] || cp /sys/kernel/btf/vmlinux sys/kernel/btf/vmlinux
for size in /sys/kernel/mm/hugepages/*; do mkdir -p ".$size"; done
"""


CPUS, NODES = 2, 2
"""Of most guests. Each machine has a tree and a folder of its own: tests run at the same time."""


def with_programs(kernel: Kernel, *, cpus: int = CPUS, nodes: int = NODES) -> Kernel:
    """``kernel``, whose guests find programs for such a machine where the product keeps them."""
    cache = Cache()
    name = _name(kernel)
    machine = _machine(kernel, cpus, nodes)
    folder = cache.root / f"programs-{machine}"
    with cache.lock(folder.name):
        read = cache.entry(f"tree-{name}", lambda into: _read(kernel, into))
        tree = cache.entry(f"tree-{machine}", lambda into: _describe(read, into, cpus, nodes))
        headers = cache.entry(f"headers-{name}", lambda into: _merge(kernel, into))
        command = [sys.executable, "-m", __spec__.name, str(tree), str(folder), kernel.release]
        say(f"{kernel.name}: compiling what is not yet compiled for {cpus} CPUs, {nodes} nodes")
        subprocess.run(
            command,
            check=True,
            cwd=Path(__file__).parents[2],
            env={**os.environ, "BCC_KERNEL_SOURCE": str(headers)},
        )
    links = ((str(DEFAULT_FOLDER), folder), (str(ELSEWHERE), folder / "elsewhere"))
    return replace(kernel, links=(*kernel.links, *links))


def compile_elsewhere(kernel: Kernel, into: Path) -> tuple[str, set[str]]:
    """`hvoscope compile` on the host for such a guest, mode full; what it said, and known names.

    Of the names, those of programs with a stream in mode full and without one are to be made.
    """
    tree, headers = tree_and_headers(kernel)
    hvoscope = str(Path(sys.executable).with_name("hvoscope"))
    paths = ("--path.procfs", str(tree / "proc"), "--path.sysfs", str(tree / "sys"))
    done = subprocess.run(
        [hvoscope, "compile", str(into), "--probe.mode", FULL, *paths],
        env={**os.environ, "BCC_KERNEL_SOURCE": str(headers)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout, known_names(kernel)


def tree_and_headers(kernel: Kernel) -> tuple[Path, Path]:
    """/proc and /sys of such a guest, and its headers; they are there after ``with_programs``."""
    root, name = Cache().root, _name(kernel)
    return root / f"tree-{_machine(kernel)}", root / f"headers-{name}"


def known_names(kernel: Kernel) -> set[str]:
    """Names of the programs that ``with_programs`` has made as if compiled elsewhere."""
    folder = Cache().root / f"programs-{_machine(kernel)}/elsewhere"
    return {path.name for path in folder.iterdir()}


def _name(kernel: Kernel) -> str:
    return digest(image=str(kernel.vmlinuz), links=[str(link) for link in kernel.links])


def _machine(kernel: Kernel, cpus: int = CPUS, nodes: int = NODES) -> str:
    return f"{_name(kernel)}-{cpus}-{nodes}"


def _read(kernel: Kernel, into: Path) -> None:
    done = run_in_guest(kernel, ("sh", "-c", _READ, str(into)), out=into)
    assert done.exit_code == 0, done.stderr


def _describe(read: Path, tree: Path, cpus: int, nodes: int) -> None:
    shutil.copytree(read, tree, dirs_exist_ok=True)
    for kind, count in (("cpu", cpus), ("node", nodes)):
        folder = tree / "sys/devices/system" / kind
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "possible").write_text(f"0-{count - 1}\n" if count > 1 else "0\n")


def _merge(kernel: Kernel, into: Path) -> None:
    """One tree of headers: Debian has what is common to all flavours apart.

    BCC takes both only from /lib/modules; a tree that is named to it must be whole.
    """
    for part in ("source", "build"):
        run("cp", ["cp", "-rsT", "--remove-destination", str(headers_of(kernel, part)), str(into)])


def headers_of(kernel: Kernel, part: str) -> Path:
    """Where ``/lib/modules/RELEASE/PART`` of a guest leads on the host."""
    wanted = Path(f"/lib/modules/{kernel.release}/{part}")
    links = {Path(at): to for at, to in kernel.links}
    if wanted not in links:
        # /usr/src/..., or the same from /usr/lib/modules/RELEASE on.
        at = Path("/usr/lib/modules", kernel.release)
        target = Path(os.path.normpath(at / (links[wanted.parent] / part).readlink()))
        return links.get(target, target)
    return links[wanted]


def _texts(host: Host) -> Iterator[str]:
    """The texts that can be asked for on a machine."""
    symbols = read_symbols(host.proc / "kallsyms")
    path = host.sys / "kernel/btf/vmlinux"
    btf = Btf.read(path) if path.exists() else None
    for mode, fentry, stream in VARIANTS:
        if fentry and (btf is None or not has_trampolines(symbols, host.machine)):
            continue
        try:
            for stacks in (
                (False, True) if (mode, fentry, stream) == (FULL, True, True) else (False,)
            ):
                yield compose(
                    host, symbols, btf, mode, stream=stream, fentry=fentry, stacks=stacks
                ).text
        except ComposeError:
            continue  # as `range` on a kernel without a count of its own


def main() -> None:
    """Compile what is not in the folder."""
    tree, folder, release = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    host = Host(tree / "proc", tree / "sys", tree / "modules", release, platform.machine())
    version, kept, elsewhere = bcc_version(), ProgramCache(folder), folder / "elsewhere"
    elsewhere.mkdir(parents=True, exist_ok=True)
    made = set()
    for text in _texts(host):
        key = key_of(text, platform.machine(), version)
        program = kept.get(key) or compile_text(import_bcc(), text)
        kept.put(key, program)
        path = shipped_path(elsewhere, key_of(text, platform.machine()))
        part = path.with_suffix(".part")
        part.write_bytes(program.dump())
        part.replace(path)  # a guest may be about to read it
        made.add(path)
    for left in set(elsewhere.iterdir()) - made:
        left.unlink()


if __name__ == "__main__":
    main()

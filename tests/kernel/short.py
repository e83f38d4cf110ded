# SPDX-License-Identifier: Apache-2.0
"""Runs in the guest: a pool shrinks while there is no memory, and again with memory.

``python -m tests.kernel.short FOLDER`` writes short.json, and events.bin with the events up to the
end of the shrink without memory. It judges nothing.

The kernel needs frames to restore a huge page's vmemmap. Without them the page stays in the pool,
as surplus (mm/hugetlb.c, __update_and_free_page).
"""

import ctypes
import itertools
import json
import mmap
import os
import struct
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from probes.backend import FULL, MODES
from probes.bpf import assembly as asm
from probes.bpf.assembly import Program, Shared
from probes.bpf.syscalls import bpf
from probes.geometry import KIB, MIB
from probes.live.backend import LiveBackend
from probes.observation import known
from probes.operations import parse_operation
from tests.kernel.workload import Notes, kernels_own, meminfo_kib, perform, plain, pool_of

PAGES = 64

_LEFT_TO_HASH = 64 * MIB
"""Memory that is not locked, but taken by the hash: its last frames without the OOM killer."""
_ELEMENT_BYTES = (3 * KIB, 512, 64)
_AT_ONCE = 500
_MAP_CREATE, _HASH, _NO_PREALLOC = 0, 1, 1
_MCL_CURRENT, _MCL_FUTURE = 1, 2
_ROUNDS = 4

_LIBC = ctypes.CDLL(None, use_errno=True)


class Hash:
    """A BPF hash that a BPF program fills: its elements are allocated without waiting for memory.

    Where there is none the update fails, and no task is killed for it (kernel/bpf/hashtab.c,
    alloc_htab_elem). A system call would copy the element first, and kill tasks for that copy.
    """

    def __init__(self, element_bytes: int) -> None:
        self._map = bpf(
            _MAP_CREATE, struct.pack("=IIIII", _HASH, 8, element_bytes, 1 << 20, _NO_PREALLOC)
        )
        self._shared = Shared(16 + element_bytes)  # the key, what failed, and an element
        self._program = Program(
            [
                *self._shared.into(7),
                asm.move_number(9, 0),
                asm.map_of(1, self._map),
                asm.move(2, 7),
                asm.move(3, 7),
                asm.add_number(3, 16),
                asm.move_number(4, 0),
                asm.call(asm.MAP_UPDATE),
                asm.jump_unless_zero(0, 5),
                asm.read(1, 7),
                asm.add_number(1, 1),
                asm.write(7, 1),
                asm.add_number(9, 1),
                asm.jump_if_less(9, _AT_ONCE, -13),
                asm.write(7, 0, 8),
                asm.move_number(0, 0),
                asm.leave(),
            ]
        )

    def fill(self) -> int:
        """Put elements in until there is no memory; how many it has now."""
        while True:
            self._program.run()
            elements, failed = struct.unpack_from("=Qq", self._shared.memory)
            if failed:
                return int(elements)

    def warm_up(self) -> None:
        """Run once, so that later nothing of this process is touched for the first time."""
        self._program.run()

    def close(self) -> None:
        """Give all of it back."""
        self._program.close()
        self._shared.close()
        os.close(self._map)


def say(text: str) -> None:
    """A line for readers of the guest's stderr.log; it takes memory."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


@contextmanager
def no_memory() -> Iterator[None]:
    """Take all memory, and give it back afterwards.

    What runs inside must need none: system calls on open files only.
    """
    Path("/proc/self/oom_score_adj").write_text("-1000")
    drop = os.open("/proc/sys/vm/drop_caches", os.O_WRONLY)
    hashes = [Hash(size) for size in _ELEMENT_BYTES]
    for each in hashes:
        each.warm_up()
    # The pages of this process's own code are page cache too, which the kernel would drop.
    if _LIBC.mlockall(_MCL_CURRENT | _MCL_FUTURE):
        raise OSError(ctypes.get_errno(), "mlockall")
    os.write(drop, b"3")
    locked = mmap.mmap(-1, (meminfo_kib("MemFree") << 10) - _LEFT_TO_HASH)
    say(f"locked {len(locked) >> 20} MiB")
    for _ in range(_ROUNDS):
        for each in hashes:
            each.fill()
        os.write(drop, b"3")
    for each in hashes:
        each.fill()
    try:
        yield
    finally:
        for each in hashes:
            each.close()
        locked.close()
        _LIBC.munlockall()
        os.close(drop)


class Watchers:
    """Both probe modes, and what they and the kernel say after each step."""

    def __init__(self, stack: ExitStack) -> None:
        self._backends = {mode: LiveBackend(mode=mode, stream=mode == FULL) for mode in MODES}
        self.events = b""
        for backend in self._backends.values():
            backend.start()
            stack.callback(backend.stop)
        self.steps: list[Notes] = []
        self.observe("")

    def observe(self, what: str) -> None:
        """Note what was done, and what is counted after it."""
        seen = {mode: backend.observe() for mode, backend in self._backends.items()}
        self.steps.append(
            {
                "op": what,
                "kernel": kernels_own(),
                "pool": {name: _hugepages(name) for name in ("nr", "surplus", "free")},
                "counters": {mode: plain(one.counters)["totals"] for mode, one in seen.items()},
                "drift": {mode: known(one.drift) for mode, one in seen.items()},
                "missed": {mode: dict(one.status.missed) for mode, one in seen.items()},
                "lost": dict(seen[FULL].status.lost),
            }
        )
        # Read only now: a reader would need memory while there is none.
        self.events += b"".join(itertools.takewhile(bool, self._backends[FULL].records()))
        say(f"done: {what or 'attached'}")


def _hugepages(name: str) -> int:
    return int((pool_of(2 * MIB) / f"{name}_hugepages").read_text())


def _write_without_memory(path: Path, text: bytes) -> None:
    file = os.open(path, os.O_WRONLY)
    problem = ""
    try:
        with no_memory():
            try:
                os.write(file, text)
            except OSError as error:
                problem = str(error)
    finally:
        os.close(file)
    say(f"wrote {text!r} to {path}: {problem or 'no error'}")


def main() -> None:
    """Do it and write short.json."""
    out = Path(sys.argv[1])
    count = pool_of(2 * MIB) / "nr_hugepages"
    with ExitStack() as stack:
        watchers = Watchers(stack)
        for text in ("hvo on", f"grow 2MB {PAGES}"):
            perform(parse_operation(text))
            watchers.observe(text)
        _write_without_memory(count, b"0")
        watchers.observe("shrink without memory")
        (out / "events.bin").write_bytes(watchers.events)
        # Surplus pages become the pool's own, and go.
        count.write_text(str(_hugepages("nr")))
        count.write_text("0")
        watchers.observe("shrink with memory")
    (out / "short.json").write_text(json.dumps({"steps": watchers.steps}))


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""Runs in the guest: a pool shrinks, and a 1 GB page is demoted, while there is no memory at all.

``python -m tests.kernel.short FOLDER [demote]`` writes short.json, and events.bin with the events
up to the shrink without memory. It judges nothing.

The kernel needs frames to restore a huge page's vmemmap; without, the page stays in the pool as
surplus. Kernels from 6.2 to 7.0 optimise a page without a new head page where there is none.
"""

import ctypes
import errno
import itertools
import json
import mmap
import os
import resource
import struct
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from probes.accounting import Drift, KernelState
from probes.geometry import GIB, MIB
from probes.host import Host
from probes.live.backend import LiveBackend
from probes.live.plan import FULL, MODES
from probes.operations import parse_operation
from tests.kernel.workload import Notes, kernels_own, meminfo_kib, perform, plain, pool_of

PAGES = 64

_LEFT_TO_MAPS = 96 * MIB
"""Memory that is not locked, but taken map by map: the last of it without waking the OOM killer.
More of a large machine, whose kernel keeps more for itself."""
_MAP_BYTES = (MIB, 64 << 10, 3 << 10)
_BPF, _MAP_CREATE, _ARRAY = 321, 0, 2
_MCL_CURRENT, _MCL_FUTURE = 1, 2
_ROUNDS = 5

_LIBC = ctypes.CDLL(None, use_errno=True)


def _map(size: int) -> int:
    """A BPF array of one element of ``size`` bytes; raises ``OSError``.

    Its memory is allocated with __GFP_NORETRY or __GFP_RETRY_MAYFAIL (bpf_map_area_alloc): the
    kernel says ENOMEM where it would kill a task for the same page of a process.
    """
    attributes = ctypes.create_string_buffer(struct.pack("=IIII", _ARRAY, 4, size, 1), 128)
    found: int = _LIBC.syscall(_BPF, _MAP_CREATE, attributes, 16)
    if found < 0:
        raise OSError(ctypes.get_errno(), "BPF_MAP_CREATE")
    return found


def say(text: str) -> None:
    """A line for who reads the guest's stderr.log; takes memory."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def _maps_until_none(size: int, into: list[int]) -> None:
    while True:
        try:
            into.append(_map(size))
        except OSError as error:
            if error.errno != errno.ENOMEM:
                raise
            return


@contextmanager
def no_memory() -> Iterator[None]:
    """Take all memory, and give it back afterwards.

    What runs inside must not need any: system calls on open files only.
    """
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (-1, -1))
    resource.setrlimit(resource.RLIMIT_NOFILE, (1 << 19, 1 << 19))
    Path("/proc/self/oom_score_adj").write_text("-1000")
    drop = os.open("/proc/sys/vm/drop_caches", os.O_WRONLY)
    # What this process runs is page cache too, which the kernel would drop and read again.
    if _LIBC.mlockall(_MCL_CURRENT | _MCL_FUTURE):
        raise OSError(ctypes.get_errno(), "mlockall")
    os.write(drop, b"3")
    free = meminfo_kib("MemFree") << 10
    size = free - max(_LEFT_TO_MAPS, free // 16)
    locked = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    maps: list[int] = []
    say(f"locked {len(locked) >> 20} MiB")
    for _ in range(_ROUNDS):
        for size in _MAP_BYTES:
            _maps_until_none(size, maps)
        os.write(drop, b"3")
    for size in _MAP_BYTES:
        _maps_until_none(size, maps)
    try:
        yield
    finally:
        for descriptor in maps:
            os.close(descriptor)
        locked.close()
        _LIBC.munlockall()
        os.close(drop)


class Watchers:
    """Both probe modes, and what they and the kernel say after each step."""

    def __init__(self, stack: ExitStack) -> None:
        self._backends = {mode: LiveBackend(mode=mode, stream=mode == FULL) for mode in MODES}
        self.events = b""
        self._drifts = {}
        for mode, backend in self._backends.items():
            backend.start()
            stack.callback(backend.stop)
            self._drifts[mode] = Drift(backend, KernelState(Host()))
            self._drifts[mode].mark()
        self.steps: list[Notes] = []
        self.look("")

    def look(self, what: str) -> None:
        """Note what was done, and what is counted after it."""
        step: Notes = {"op": what, "kernel": kernels_own(), "pools": {}}
        for size in (2 * MIB, GIB):
            for name in ("nr", "surplus", "free"):
                step["pools"][f"{size // MIB} {name}"] = _hugepages(size, name)
        step["counters"] = {m: plain(b.counters())["totals"] for m, b in self._backends.items()}
        step["drift"] = {mode: drift.frames() for mode, drift in self._drifts.items()}
        self.steps.append(step)
        # Read only now: a reader would need memory while there is none.
        self.events += b"".join(itertools.takewhile(bool, self._backends[FULL].records()))
        say(f"done: {what or 'attached'}")

    def done(self, *operations: str) -> None:
        """Do operations with memory, and look after each."""
        for text in operations:
            perform(parse_operation(text))
            self.look(text)

    def missed(self) -> Notes:
        """Hits that a probe did not see, by mode, and records that were lost."""
        missed: Notes = {mode: dict(b.status().missed) for mode, b in self._backends.items()}
        return {**missed, "stream": dict(self._backends[FULL].status().lost)}


def _hugepages(size: int, name: str) -> int:
    return int((pool_of(size) / f"{name}_hugepages").read_text())


def write_without_memory(path: Path, value: int) -> None:
    """Write a number to a file of a pool while there is no memory."""
    text = str(value).encode()
    file = os.open(path, os.O_WRONLY)
    try:
        with no_memory():
            try:
                os.write(file, text)
            except OSError:
                failed = True
            else:
                failed = False
    finally:
        os.close(file)
    if failed:
        say(f"writing {value} to {path} failed")


def shrink_without_memory(watchers: Watchers, out: Path) -> None:
    """A pool that cannot shrink, and then, with memory again, can."""
    count = pool_of(2 * MIB) / "nr_hugepages"
    watchers.done("hvo on", f"grow 2MB {PAGES}")
    write_without_memory(count, 0)
    watchers.look("shrink without memory")
    (out / "events.bin").write_bytes(watchers.events)
    # Surplus pages become the pool's own, and go.
    count.write_text(str(_hugepages(2 * MIB, "nr")))
    count.write_text("0")
    watchers.look("shrink with memory")


def demote_without_memory(watchers: Watchers) -> None:
    """A 1 GB page that is not optimised becomes 512 that are, on vmemmap that was split before."""
    watchers.done("grow 1GB 1", "shrink 1GB 1", "hvo off", "grow 1GB 1", "hvo on")
    write_without_memory(pool_of(GIB) / "demote", 1)
    watchers.look("demote without memory")
    watchers.done("shrink 2MB 512")


def main() -> None:
    """Do it and write short.json."""
    out, jobs = Path(sys.argv[1]), sys.argv[2:]
    with ExitStack() as stack:
        watchers = Watchers(stack)
        shrink_without_memory(watchers, out)
        if "demote" in jobs:
            demote_without_memory(watchers)
        notes = {"steps": watchers.steps, "missed": watchers.missed()}
    (out / "short.json").write_text(json.dumps(notes))


if __name__ == "__main__":
    main()

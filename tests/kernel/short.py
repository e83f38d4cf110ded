# SPDX-License-Identifier: Apache-2.0
"""Runs in the guest: a pool shrinks while its node has no memory, and again when it has.

``python -m tests.kernel.short FOLDER`` writes short.json, and events.bin with the events up to the
end of the shrink without memory. It judges nothing.

The kernel needs frames to restore a huge page's vmemmap. Up to Linux 6.6 they come from the page's
node alone (__GFP_THISNODE in alloc_vmemmap_page_list); without them the page stays in the pool, as
surplus (mm/hugetlb.c, __update_and_free_page). The other node has memory for all else.
"""

import ctypes
import itertools
import json
import mmap
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from probes.backend import FULL, MODES
from probes.geometry import KIB, MIB
from probes.live.backend import LiveBackend
from probes.observation import CENSUS, known
from probes.operations import parse_operation
from tests.kernel.workload import Notes, kernels_own, perform, plain, pool_of, wait_for

PAGES = 64
NODE = 1

_LEFT = 40 * MIB
"""Free memory that the node keeps: above its minimum, which khugepaged raises to 34 MiB, and below
the one that then forbids to use it."""
_MIN_FREE_KIB = 512 * KIB
"""Half of it for each node: more than kswapd finds to reclaim when this minimum wakes it."""
_FILLED = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE
_SET_MEMPOLICY, _DEFAULT, _BIND = 238, 0, 2  # x86-64

_LIBC = ctypes.CDLL(None, use_errno=True)


def say(text: str) -> None:
    """A line for readers of the guest's stderr.log."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def _take_memory_of(nodes: int) -> None:
    """Allocate on the nodes of this mask only; on any for 0. Raises ``OSError``."""
    mask = ctypes.c_ulong(nodes)
    policy = _BIND if nodes else _DEFAULT
    if _LIBC.syscall(_SET_MEMPOLICY, policy, ctypes.byref(mask) if nodes else None, 64):
        raise OSError(ctypes.get_errno(), "set_mempolicy")


def _free_kib(node: int) -> int:
    lines = Path(f"/sys/devices/system/node/node{node}/meminfo").read_text().splitlines()
    return next(int(line.split()[3]) for line in lines if "MemFree:" in line)


@contextmanager
def no_memory(node: int) -> Iterator[None]:
    """Take nearly all memory of a node, and raise its minimum above what is left.

    Raises ``RuntimeError`` if the node had memory after all at the end.
    """
    limit = Path("/proc/sys/vm/min_free_kbytes")
    before = limit.read_text()
    Path("/proc/sys/vm/drop_caches").write_text("3")
    with ExitStack() as taken:
        _take_memory_of(1 << node)
        # Taking memory makes the kernel reclaim caches: as often as that leaves more.
        while (size := (_free_kib(node) << 10) - _LEFT) > MIB:
            taken.enter_context(mmap.mmap(-1, size, flags=_FILLED))
        _take_memory_of(0)
        limit.write_text(str(_MIN_FREE_KIB))
        say(f"node {node}: {_free_kib(node)} KiB free before")
        try:
            yield
        finally:
            free_kib = _free_kib(node)
            limit.write_text(before)
    say(f"node {node}: {free_kib} KiB free after")
    if free_kib >= _MIN_FREE_KIB // 2:
        raise RuntimeError(f"node {node} had {free_kib} KiB free: too much to be without memory")


class Watchers:
    """Both probe modes, and what they and the kernel say after each step."""

    def __init__(self, stack: ExitStack) -> None:
        self._backends = {mode: LiveBackend(mode=mode, stream=mode == FULL) for mode in MODES}
        self.events = b""
        for backend in self._backends.values():
            backend.start()
            stack.callback(backend.stop)
        # Loaders have memory until they have taken a census.
        wait_for(self._have_census)
        self.steps: list[Notes] = []
        self.observe("")

    def _have_census(self) -> bool:
        seen = (backend.observe((CENSUS,)).census for backend in self._backends.values())
        return all(known(census) is not None for census in seen)

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
        self.events += b"".join(itertools.takewhile(bool, self._backends[FULL].records()))
        say(f"done: {what or 'attached'}")


def _hugepages(name: str) -> int:
    return int((pool_of(2 * MIB) / f"{name}_hugepages").read_text())


def main() -> None:
    """Do it and write short.json."""
    out = Path(sys.argv[1])
    pool = Path(f"/sys/devices/system/node/node{NODE}/hugepages/hugepages-2048kB/nr_hugepages")
    with ExitStack() as stack:
        watchers = Watchers(stack)
        perform(parse_operation("hvo on"))
        watchers.observe("hvo on")
        pool.write_text(str(PAGES))
        watchers.observe("grow")
        with no_memory(NODE):
            pool.write_text("0")
            watchers.observe("shrink without memory")
        (out / "events.bin").write_bytes(watchers.events)
        # Surplus pages become the pool's own, and go.
        pool.write_text(str(_hugepages("nr")))
        pool.write_text("0")
        watchers.observe("shrink with memory")
    (out / "short.json").write_text(json.dumps({"steps": watchers.steps}))


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""Runs in the guest: pools grow and shrink at once, each on a CPU of its own, and all is counted.

``python -m tests.bench.kernel_speed_guest FOLDER ROUNDS...`` writes speed.json. It judges nothing.
"""

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import repeat
from pathlib import Path
from typing import NamedTuple

from probes.backend import FULL
from probes.bpf.handover import FENTRY, KPROBE
from probes.events import RECORD, Kind, offset_of
from probes.geometry import GIB, MIB
from probes.live.backend import LiveBackend
from probes.observation import known
from probes.operations import parse_operation
from tests.bench.pool import Pool
from tests.kernel.drain import Drain
from tests.kernel.modes import WAYS
from tests.kernel.workload import Notes, kernels_own, perform, plain

_KIND = offset_of("kind")


class Breath(NamedTuple):
    """How a pool breathes."""

    pool: Pool
    pages: int
    """So many come and go each time."""
    every: int
    """Rounds."""
    cpu: int
    """Its one writer's."""


NODES, BARE_NODES = (0, 1), (2, 3)
"""For 2 MB pages, and for 1 GB pages: on nodes without a CPU nothing has to be moved for them, at
which the kernel may be for minutes (seen on 6.12 under emulation)."""
CPUS = 4


def breaths() -> list[Breath]:
    """What is to be done.

    One page of 2 MB on each node is there, optimised, all the time: so the kernel never patches
    itself for the first such page or the last. Of four emulated CPUs one now and then takes an int3
    that was there for a moment only, and dies of it.
    """
    small = [Pool(2 * MIB, node, held=1) for node in NODES]
    for pool in small:
        pool.resize(0)
    # A 1 GB page has as many PTEs as 500 pages of 2 MB.
    return [Breath(pool, 101, 1, pool.node) for pool in small] + [
        Breath(Pool(GIB, node), 1, 10, node) for node in BARE_NODES
    ]


def breathe(breath: Breath, rounds: int) -> tuple[int, int]:
    """Shrink and grow; pages that came and pages that went, as the pool itself says."""
    pool = breath.pool
    os.sched_setaffinity(0, {breath.cpu})
    there = came = went = 0
    for _ in range(0, rounds, breath.every):
        for wanted in (0, breath.pages):
            pool.resize(wanted)
            before, there = there, pool.pages
            came += max(there - before, 0)
            went += max(before - there, 0)
    return came, went


class Reader:
    """Takes a backend's records and counts them by kind."""

    def __init__(self, backend: LiveBackend) -> None:
        """Nothing is read before ``start``."""
        self.kinds: Counter[int] = Counter()
        self.lost: Notes = {}
        self._backend = backend
        self._drain = Drain(backend, lambda block: self.kinds.update(block[_KIND :: RECORD.size]))
        self.start = self._drain.start
        self.join = self._drain.join

    def finish(self) -> None:
        """To be done while the backend runs, and when nothing happens any more."""
        self._drain.await_empty()
        self.lost = dict(self._backend.observe().status.lost)

    def notes(self) -> Notes:
        """Received by kind, and what the backend said it lost, by place."""
        kinds = {Kind(kind).name: n for kind, n in self.kinds.items()}
        return {"received": sum(kinds.values()), "kinds": kinds, "lost": self.lost}


@contextmanager
def watching() -> Iterator[tuple[dict[str, LiveBackend], Reader, Reader]]:
    """All ways to count at once, a stream that is read and one that is left lying."""
    counting = {f"{mode} {attach}": LiveBackend(mode=mode, attach=attach) for mode, attach in WAYS}
    streams = [LiveBackend(mode=FULL, attach=attach, stream=True) for attach in (FENTRY, KPROBE)]
    with ExitStack() as stack:

        def start(backend: LiveBackend) -> None:
            backend.start()
            stack.callback(backend.stop)

        # All at once: where nothing was compiled before, that takes most of the time.
        with ThreadPoolExecutor(CPUS) as threads:
            list(threads.map(start, [*counting.values(), *streams]))
        prompt, slow = map(Reader, streams)
        prompt.start()
        yield counting, prompt, slow


def _seen(counting: Mapping[str, LiveBackend]) -> Notes:
    seen = {way: backend.observe() for way, backend in counting.items()}
    return {
        "totals": {way: plain(one.counters)["totals"] for way, one in seen.items()},
        "drift": {way: known(one.drift) for way, one in seen.items()},
        "missed": {way: dict(one.status.missed) for way, one in seen.items()},
        "map_errors": {way: dict(one.status.map_errors) for way, one in seen.items()},
    }


def stage(rounds: int, breaths: Sequence[Breath]) -> Notes:
    """So many rounds on every pool, seen by watchers of their own."""
    with watching() as (counting, prompt, slow):
        before = kernels_own()
        began = time.monotonic()
        with ProcessPoolExecutor(len(breaths)) as workers:
            moved = list(workers.map(breathe, breaths, repeat(rounds)))
        seconds = time.monotonic() - began
        slow.start()
        prompt.finish()
        slow.finish()
        notes: Notes = {
            "rounds": rounds,
            "seconds": seconds,
            "moved": [[b.pool.size, *pages] for b, pages in zip(breaths, moved, strict=True)],
            "before": before,
            "after": kernels_own(),
            **_seen(counting),
        }
    for breath in breaths:
        breath.pool.resize(0)
    prompt.join()
    slow.join()
    return {**notes, "prompt": prompt.notes(), "slow": slow.notes()}


def main() -> None:
    """Switch on, and do every stage."""
    out, *rounds = sys.argv[1:]
    perform(parse_operation("hvo on"))
    made = breaths()
    notes = [stage(int(n), made) for n in rounds]
    Path(out, "speed.json").write_text(json.dumps(notes))


if __name__ == "__main__":
    main()

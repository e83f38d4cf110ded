# SPDX-License-Identifier: Apache-2.0
"""Runs in the guest: many tasks fault surplus pages at once, while every way to count watches.

``python -m tests.kernel.crowd FOLDER`` writes crowd.json. It judges nothing.

The per-page functions sleep, so that tasks pile up inside them: more than a return probe has
instances for (max(10, 2 x CPUs)).
"""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from exporter.verify.hugetlb_files import map_huge_pages
from probes.geometry import MIB
from probes.live.backend import LiveBackend
from probes.observation import Observation, known
from probes.operations import parse_operation
from tests.guests.progress import say
from tests.kernel.modes import WAYS
from tests.kernel.workload import Notes, hooks_left, kernels_own, perform, plain

TASKS, PAGES, ROUNDS = 96, 8, 4
POOL = Path("/sys/kernel/mm/hugepages/hugepages-2048kB")
LIMIT = 4000
"""Surplus pages allowed: more than all tasks want."""


@contextmanager
def one_page_held() -> Iterator[None]:
    """One optimised page in use all the time.

    Until Linux 7.0 the first and the last one patch the kernel's text (the static key
    hugetlb_optimize_vmemmap_key), of which QEMU's threads hang where all CPUs run through it.
    """
    (POOL / "nr_hugepages").write_text("1")
    with map_huge_pages(2 * MIB, 1, populate=True):
        yield


def crowd() -> None:
    """All tasks map, then touch all pages at the same moment, and end."""
    ready_read, ready = os.pipe()
    go, go_write = os.pipe()
    children = [_child(ready, go, go_write) for _ in range(TASKS)]
    os.close(ready)
    os.close(go)
    for _ in children:
        os.read(ready_read, 1)
    os.close(go_write)  # every child reads the end of the pipe now
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    os.close(ready_read)
    assert set(codes) == {0}, codes


def _child(ready: int, go: int, go_write: int) -> int:
    child = os.fork()
    if child:
        return child
    os.close(go_write)
    memory = map_huge_pages(2 * MIB, PAGES)
    os.write(ready, b"r")
    os.read(go, 1)
    for page in range(PAGES):
        memory[page * 2 * MIB] = 1
    os._exit(0)


def observe() -> Notes:
    """Count what the crowd does, every way at once."""
    perform(parse_operation("hvo on"))
    (POOL / "nr_overcommit_hugepages").write_text(str(LIMIT))
    with ExitStack() as stack:
        stack.enter_context(one_page_held())
        watchers = {}
        for mode, attach in WAYS:
            backend = LiveBackend(mode=mode, attach=attach)
            backend.start()
            stack.callback(backend.stop)
            watchers[f"{mode} {attach}"] = backend
        for number in range(ROUNDS):
            say(f"round {number}")
            crowd()
            # Waits for the kworker that frees surplus pages (flush_free_hpage_work, Linux 5.14).
            (POOL / "nr_hugepages").write_text("1")
        counted = {way: _notes_of(backend.observe()) for way, backend in watchers.items()}
    return {
        "release": os.uname().release,
        "cpus": os.cpu_count(),
        "counted": counted,
        "kernel": kernels_own(),
        "hooks_left": hooks_left(),
    }


def _notes_of(seen: Observation) -> Notes:
    return {
        **plain(seen.counters),
        "drift": known(seen.drift),
        "missed": dict(seen.status.missed),
        "map_errors": dict(seen.status.map_errors),
    }


def main() -> None:
    """Do all of it."""
    (Path(sys.argv[1]) / "crowd.json").write_text(json.dumps(observe()))


if __name__ == "__main__":
    main()

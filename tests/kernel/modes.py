# SPDX-License-Identifier: Apache-2.0
"""Runs in the guest: every probe mode and attach type at once, over everything a pool can do.

``python -m tests.kernel.modes FOLDER CYCLES OPERATION...`` writes modes.json. It judges nothing.
Without cycles of attaching and detaching, the operations are all that is done.
"""

import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any

from probes.backend import FULL, RANGE, BackendError
from probes.bpf.handover import FENTRY, KPROBE
from probes.kernel.host import Host
from probes.live.backend import LiveBackend
from probes.observation import Observation, known
from probes.operations import parse_operation
from probes.preflight.facts import Facts
from probes.preflight.free_memory import sample_flags
from tests.guests.precompiled import ELSEWHERE
from tests.kernel.workload import (
    Notes,
    covered,
    exporter,
    get,
    headers,
    hooks,
    hooks_left,
    kernels_own,
    moved_away,
    perform,
    plain,
    wait_for,
)

WAYS = tuple((mode, attach) for mode in (FULL, RANGE) for attach in (KPROBE, FENTRY))

OPERATIONS = (
    "hvo on",
    # Nothing is given back before all has grown: memory that was never optimised before is what
    # makes MemTotal rise by every frame that is freed.
    "grow 2MB 23",
    "grow 2MB 509",
    "grow 1GB 1",
    "shrink 2MB 23",
    "shrink 2MB 509",
    "shrink 1GB 1",
    "overcommit 2MB 5",
    # Optimised pages stay so when the switch goes off, and are restored all the same.
    "grow 2MB 3",
    "hvo off",
    "grow 2MB 2",
    "shrink 2MB 5",
    "hvo on",
    "grow 1GB 1",
    "demote 1GB 1",
    "shrink 2MB 512",
)

COUNTS = OPERATIONS[:7]
"""All sizes, once each way."""

FRAMES_A_STRUCT_PAGE_FRAME = 64
"""A struct page has 64 bytes on every kernel that can do this."""

FROM_ELSEWHERE = ("grow 2MB 23", "shrink 2MB 23")
WAYS_FROM_ELSEWHERE = ((FULL, FENTRY), (RANGE, KPROBE))
"""Each mode and each attach type; a start takes a quarter of a minute under emulation."""


def start_every_way(
    stack: ExitStack, ways: Sequence[tuple[str, str]] = WAYS, **options: Any
) -> tuple[dict[str, LiveBackend], dict[str, str]]:
    """A backend for each way, and for the others the reason why it can't be."""
    started, refused = {}, {}
    for mode, attach in ways:
        way, backend = f"{mode} {attach}", LiveBackend(mode=mode, attach=attach, **options)
        try:
            backend.start()
        except BackendError as error:
            refused[way] = str(error)
            continue
        stack.callback(backend.stop)
        started[way] = backend
    return started, refused


def count_every_way(operations: Sequence[str]) -> Notes:
    """All backends watch the same operations."""
    with ExitStack() as stack:
        started, refused = start_every_way(stack)
        steps = [{"op": "", "kernel": kernels_own()}]
        for text in operations:
            perform(parse_operation(text))
            step: Notes = {"op": text, "kernel": kernels_own(), "counters": {}, "drift": {}}
            for way, backend in started.items():
                seen = backend.observe()
                step["counters"][way] = plain(seen.counters)["totals"]
                step["drift"][way] = known(seen.drift)
            steps.append(step)
        health = {way: _health(backend.observe()) for way, backend in started.items()}
    return {"steps": steps, "health": health, "refused": refused, "hooks_left": hooks_left()}


def _health(seen: Observation) -> Notes:
    return {
        "probes": [[p.step, p.symbol, p.attach] for p in seen.status.probes],
        "missed": dict(seen.status.missed),
        "map_errors": dict(seen.status.map_errors),
        "batches": [
            [order, sum(histogram.counts)]
            for (name, order), histogram in seen.counters.durations.items()
            if name == "batch"
        ],
    }


def count_without_bcc(operations: Sequence[str]) -> Notes:
    """By programs that were compiled elsewhere, with neither BCC, nor its library, nor headers."""
    library = Path("/usr/lib/x86_64-linux-gnu")
    with (
        ExitStack() as stack,
        moved_away(headers()),
        covered(Path("/usr/lib/python3/dist-packages/bcc")),
        moved_away(next(library.glob("libbcc.so.0"))),
    ):
        started, refused = start_every_way(
            stack, WAYS_FROM_ELSEWHERE, cache=None, programs=ELSEWHERE
        )
        for text in operations:
            perform(parse_operation(text))
        totals = {
            way: plain(backend.observe().counters)["totals"] for way, backend in started.items()
        }
        with tempfile.TemporaryDirectory() as folder:
            for whole in ELSEWHERE.iterdir():
                (Path(folder) / whole.name).write_bytes(whole.read_bytes()[:-1])
            damaged = start_every_way(
                stack, WAYS_FROM_ELSEWHERE[:1], cache=None, programs=Path(folder)
            )[1]
    return {
        "totals": totals,
        "refused": refused,
        "damaged": damaged,
        "hooks_left": hooks_left(),
    }


def die(out: Path) -> Notes:
    """kill -9 while probes are attached."""
    with exporter(out / "serve-killed.log") as process:
        wait_for(lambda: get("/-/ready")[0] == 200)
        before = hooks()
        process.send_signal(signal.SIGKILL)
        process.wait()
    return {"before": before, "after": hooks_left(), "exit_code": process.returncode}


def start_and_stop(cycles: int) -> Notes:
    """Attach and detach over and over."""
    attached = 0
    for _ in range(cycles):
        backend = LiveBackend(mode=FULL, attach=KPROBE)
        backend.start()
        attached += bool(hooks())
        backend.stop()
    return {"cycles": cycles, "attached": attached, "hooks_left": hooks_left()}


def main() -> None:
    """Do all of it and write modes.json."""
    out, cycles, operations = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    notes: Notes = {"release": os.uname().release}
    # Of the main kernels all programs are compiled before: nothing can be, without headers.
    with moved_away(headers()) if cycles else nullcontext():
        notes["count"] = count_every_way(operations)
    if cycles:
        notes |= {
            "may_leave_heads": Facts(Host()).may_leave_stale_heads,
            "free_memory": sample_flags(Path("/proc"), FRAMES_A_STRUCT_PAGE_FRAME)._asdict(),
            "without_bcc": count_without_bcc([op for op in FROM_ELSEWHERE if op in operations]),
            "die": die(out),
            "start_and_stop": start_and_stop(cycles),
        }
    notes["seconds"] = time.monotonic()  # since the boot
    (out / "modes.json").write_text(json.dumps(notes))


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""Whether the counts stay exact while every CPU grows and shrinks pools at once."""

import json
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from probes.geometry import GIB, MIB
from tests.bench.figures import InexactError, Section, Table, table
from tests.bench.in_guest import run_module
from tests.bench.kernel_speed_guest import BARE_NODES, CPUS, NODES
from tests.guests import kernel_matrix, tools
from tests.guests.qemu import Host

KERNEL = "debian-6.12-113"
"""The oldest here that accounts its memmap itself (6.11), and gives back all of it."""
ROUNDS = (1, 10, 100)
MEMORY_MIB, TIMEOUT_S = 16 * 1024, 600

Notes = Mapping[str, Any]


def measure(quick: bool) -> Section:
    """Some minutes; if ``quick``, without the longest stage."""
    Host.find()
    tools.require("bcc")
    rounds = ROUNDS[:-1] if quick else ROUNDS
    with tempfile.TemporaryDirectory(prefix="hvo-bench-") as folder:
        out = Path(folder)
        run_module(
            kernel_matrix.provide(KERNEL),
            out,
            "tests.bench.kernel_speed_guest",
            folder,
            *map(str, rounds),
            cpus=CPUS,
            nodes=len(NODES),
            bare_nodes=len(BARE_NODES),
            memory_mib=MEMORY_MIB,
            timeout_s=TIMEOUT_S,
        )
        stages: list[Notes] = json.loads((out / "speed.json").read_text())
    for stage in stages:
        check(stage)
    return section(stages)


def check(stage: Notes) -> None:
    """Hold every way's counts against pools, kernel and stream. Raises ``InexactError``."""
    first, *others = stage["totals"].values()
    _same("all ways to count", [sorted(first)] * len(others), [sorted(o) for o in others])
    _same("drift", set(stage["drift"].values()), {0})
    counted = sums(stage)
    came, went = (sum(moved[i] for moved in stage["moved"]) for i in (1, 2))
    _same("pages that came", counted["hugepages_optimized"], came)
    _same("pages that went", counted["hugepages_restored"], went)
    _same("net frames", counted["frames_freed"] - counted["frames_allocated"], fall(stage))
    prompt, slow = stage["prompt"], stage["slow"]
    kinds = Counter(prompt["kinds"])  # 0 of a kind that never came
    for reader in (prompt, slow):
        _same("lost events are counted", bool(reader["lost"]), True)
    _same("loss of a prompt reader", sum(prompt["lost"].values()), 0)
    _same("records of remapped PTEs", kinds["REMAP_PTE"], counted["ptes_remapped"])
    _same("records of restored PTEs", kinds["RESTORE_PTE"], counted["ptes_restored"])
    _same("records of calls", kinds["OPTIMIZE_EXIT"], counted["optimize_calls"])
    # Both were attached all the time: what one received, the other received or lost.
    _same("received + lost", slow["received"] + sum(slow["lost"].values()), prompt["received"])


def sums(stage: Notes) -> Counter[str]:
    """Counters by family."""
    counted: Counter[str] = Counter()
    for family, _, _, _, n in next(iter(stage["totals"].values())):
        counted[family] += n
    return counted


def fall(stage: Notes) -> int:
    """Frames of memmap that the kernel itself accounts less of."""
    before, after = (stage[when]["memmap_pages"] for when in ("before", "after"))
    return int(before - after)


def section(stages: Sequence[Notes]) -> Section:
    """The table, and nothing to compare: it is exact, or it raised."""
    return Section("Exactness under speed", ABOUT, BOUNDS, (_table(stages), _streams(stages)))


def _table(stages: Sequence[Notes]) -> Table:
    rows = []
    for stage in stages:
        counted = sums(stage)
        ptes = counted["ptes_remapped"] + counted["ptes_restored"]
        missed = sum(n for way in stage["missed"].values() for n in way.values())
        errors = sum(n for way in stage["map_errors"].values() for n in way.values())
        small, large = (
            sum(came + went for size, came, went in stage["moved"] if size == wanted)
            for wanted in (2 * MIB, GIB)
        )
        net = counted["frames_freed"] - counted["frames_allocated"]
        rows.append(
            (stage["rounds"], f"{small:,}", large, f"{ptes:,}", f"{ptes / stage['seconds']:,.0f}",
             missed, errors, net, fall(stage))
        )  # fmt: skip
    columns = ("rounds", "pages of 2 MB, came and went", "of 1 GB", "PTEs",
               "PTEs a second (emulated)", "missed", "map errors", "net frames counted",
               "nr_memmap_* fell by")  # fmt: skip
    return table("Four pools at once on four CPUs", columns, rows, NOTE)


def _streams(stages: Sequence[Notes]) -> Table:
    rows = [
        (stage["rounds"], *(f"{n:,}" for n in (prompt["received"], sum(prompt["lost"].values()),
         slow["received"], sum(slow["lost"].values()),
         slow["received"] + sum(slow["lost"].values()) - prompt["received"])))
        for stage in stages
        for prompt, slow in [(stage["prompt"], stage["slow"])]
    ]  # fmt: skip
    columns = ("rounds", "prompt reader: received", "lost", "no reader until the end: received",
               "lost", "received + lost, less what was sent")  # fmt: skip
    return table("The event stream", columns, rows)


def _same(what: str, found: object, expected: object) -> None:
    if found != expected:
        raise InexactError(f"{what}: {found} instead of {expected}")


ABOUT = (
    f"On {KERNEL}, four processes on CPUs of their own grow and shrink two pools of 2 MB and two of"
    " 1 GB pages, each on a node of its own, as fast as they can, while all four ways to count and"
    " two event streams are attached at once. The command fails unless every way counts the same,"
    " as many pages as the pools say, as many frames as nr_memmap_* fell by, and a record for every"
    " PTE."
)
NOTE = (
    "Pages of 1 GB come and go each tenth round, as long as their node has a place for one: this"
    " kernel takes one that was used for used still (probes/preflight/free_memory.py)."
)
BOUNDS = (
    "emulation: every PTE meets ten probes here, on a CPU that is itself a program. What is lost is"
    " what does not fit into the stream's 16 MiB before somebody reads."
)

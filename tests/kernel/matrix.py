# SPDX-License-Identifier: Apache-2.0
"""The table of docs/kernels.md: ``python -m tests.kernel.matrix [--notes FOLDER] [KERNEL ...]``.

A row for each test kernel: what test_modes.py expects, what the probes counted in every mode and
way to attach, and what the kernel accounts. Kernels are booted, several at once if memory and CPUs
allow, unless FOLDER has their notes (from ``HVOSCOPE_NOTES=FOLDER make test-kernel``). Rows of
kernels that are not named stay as they are.
"""

import json
import os
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import click

from tests.guests import kernel_matrix, tools
from tests.kernel.expected import EXPECTED, WAYS
from tests.kernel.test_modes import DONE, counters_of, net_frames, observe
from tests.kernel.workload import meminfo_kib

SHOWN = ("grow 2MB 23", "grow 2MB 509", "grow 1GB 1")
GUEST_MIB = 13 * 1024
"""Memory of a guest and its helpers."""

PAGE = Path(__file__).parents[2] / "docs/kernels.md"
_BEGIN, _END = "<!-- made by python -m tests.kernel.matrix: begin -->", "<!-- end -->"

_HEADER = (
    "| kernel | release | boot parameters | functions | probes | "
    + " | ".join(f"{operation}: PTEs, net frames (expected)" for operation in SHOWN)
    + " | kernel's own accounts, frames | seconds |"
)


def guests_at_once() -> int:
    """As many as memory holds and two CPUs each can drive; one at least."""
    free_mib = meminfo_kib("MemAvailable") // 1024
    return max(1, min(free_mib // GUEST_MIB, (os.cpu_count() or 1) // 2))


def notes_of(kernel_name: str, folder: Path) -> dict[str, Any]:
    """What the guest of a test kernel wrote, or writes now."""
    kept = folder / kernel_name / "modes.json"
    if kept.is_file():
        notes: dict[str, Any] = json.loads(kept.read_text())
        return notes
    tools.require("bcc")
    return observe(kernel_name, kernel_matrix.provide(kernel_name), folder / kernel_name, cycles=0)


def row(kernel_name: str, notes: dict[str, Any]) -> str:
    """One kernel's line."""
    health = notes["count"]["health"]
    symbols = dict.fromkeys(
        symbol for way in health.values() for step, symbol, _ in way["probes"] if step != "batch"
    )
    append = kernel_matrix.KERNELS[kernel_name].append
    cells = [
        kernel_name,
        notes["release"],
        f"`{append}`" if append else "none",
        ", ".join(f"`{symbol}`" for symbol in symbols),
        "all" if set(health) == set(WAYS) else ", ".join(health),
        *(_counted(kernel_name, notes, operation) for operation in SHOWN),
        _oracle(notes),
        f"{notes['seconds']:.0f}",
    ]
    return f"| {' | '.join(cells)} |"


def _counted(kernel_name: str, notes: dict[str, Any], operation: str) -> str:
    """PTEs and net frames of one operation, the same in every way or said to differ."""
    steps = notes["count"]["steps"]
    at = next(i for i, step in enumerate(steps) if step["op"] == operation)
    seen = {
        (_change(steps, at, way, "ptes_remapped"), _net_change(steps, at, way))
        for way in steps[at]["counters"]
    }
    should_be = counters_of(DONE[operation], EXPECTED[kernel_name])
    ptes = sum(n for (family, _, _), n in should_be.items() if family == "ptes_remapped")
    expected = f"({ptes}, {net_frames(should_be)})"
    return f"{' or '.join(f'{p}, {n}' for p, n in sorted(seen))} {expected}"


def _net_change(steps: list[dict[str, Any]], at: int, way: str) -> int:
    freed = _change(steps, at, way, "frames_freed")
    return freed - _change(steps, at, way, "frames_allocated")


def _change(steps: list[dict[str, Any]], at: int, way: str, family: str) -> int:
    def total(step: dict[str, Any]) -> int:
        return sum(n for name, *_, n in step.get("counters", {}).get(way, ()) if name == family)

    return total(steps[at]) - total(steps[at - 1])


def _oracle(notes: dict[str, Any]) -> str:
    """What the kernel's own accounts changed by, for each shown operation; drift where it has one.

    nr_memmap_* falls by the net frames; before Linux 6.11 MemTotal rises by those freed.
    """
    steps = notes["count"]["steps"]
    places = [next(i for i, s in enumerate(steps) if s["op"] == op) for op in SHOWN]
    kernel = [(steps[at - 1]["kernel"], steps[at]["kernel"]) for at in places]
    if steps[0]["kernel"]["memmap_pages"] is None:
        rises = [(after["memtotal_kib"] - before["memtotal_kib"]) // 4 for before, after in kernel]
        return f"MemTotal {', '.join(f'+{rise}' for rise in rises)}"
    falls = [before["memmap_pages"] - after["memmap_pages"] for before, after in kernel]
    drifts = sorted({drift for step in steps[1:] for drift in step["drift"].values()})
    return f"nr_memmap_* {', '.join(f'-{fall}' for fall in falls)}; drift {drifts}"


def page_with(page: str, rows: Mapping[str, str]) -> str:
    """The page with these rows, by test kernel, in the place of those it had; others stay.

    Raises ``ValueError`` for a page without the table's markers.
    """
    before, begin, rest = page.partition(f"{_BEGIN}\n")
    table, end, after = rest.partition(f"{_END}\n")
    if not begin or not end:
        raise ValueError(f"the page has no lines {_BEGIN} and {_END}")
    kept = {line.split(" | ")[0].removeprefix("| "): line for line in table.splitlines()}
    merged = {**kept, **rows}
    lines = [_HEADER, "|---" * (_HEADER.count("|") - 1) + "|"]
    lines += [merged[kernel_name] for kernel_name in kernel_matrix.KERNELS if kernel_name in merged]
    return "\n".join([f"{before}{_BEGIN}", *lines, f"{_END}\n{after}"])


@click.command()
@click.argument("names", nargs=-1, metavar="[KERNEL ...]")
@click.option("--notes", type=click.Path(path_type=Path), help="Folder of notes to read or write.")
def main(names: tuple[str, ...], notes: Path | None) -> None:
    """Write the table; every test kernel where HVO works unless some are named."""
    chosen = names or tuple(kernel_matrix.under_test())
    with tempfile.TemporaryDirectory(prefix="hvo-matrix-") as scratch:
        folder = notes or Path(scratch)
        with ThreadPoolExecutor(guests_at_once()) as pool:
            observed = list(pool.map(lambda kernel_name: notes_of(kernel_name, folder), chosen))
    rows = {
        kernel_name: row(kernel_name, seen)
        for kernel_name, seen in zip(chosen, observed, strict=True)
    }
    PAGE.write_text(page_with(PAGE.read_text(), rows))
    click.echo(f"{PAGE}: {len(rows)} rows written")


if __name__ == "__main__":
    main()

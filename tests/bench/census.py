# SPDX-License-Identifier: Apache-2.0
"""What a census costs: how long the loader reads the lists of huge pages, and how much memory."""

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from probes.geometry import GIB, MIB
from tests.bench.figures import Section, figure, table
from tests.bench.in_guest import run_module
from tests.guests import kernel_matrix

KERNEL = "debian-6.1"
PAGES = 64 * GIB // (2 * MIB)
QUICK_PAGES = PAGES // 16
TERABYTE_PAGES = 1024 * GIB // (2 * MIB)
SPARE_MIB = 6144
TIMEOUT_S = 1200


def measure(quick: bool) -> Section:
    """About a minute, most of it the boot."""
    pools = [QUICK_PAGES] if quick else [QUICK_PAGES, PAGES]
    return section([in_guest(pages, 3 if quick else 7) for pages in pools])


def in_guest(pages: int, repeats: int) -> dict[str, Any]:
    """The guest's notes; its memory is not backed, except where the kernel writes."""
    kernel = kernel_matrix.provide(KERNEL)
    boot = f"{kernel.append} hugetlb_free_vmemmap=on hugepages={pages}"
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        run_module(
            replace(kernel, append=boot),
            out,
            "tests.bench.census_guest",
            folder,
            str(repeats),
            memory_mib=pages * 2 + SPARE_MIB,
            timeout_s=TIMEOUT_S,
        )
        notes: dict[str, Any] = json.loads((out / "census.json").read_text())
    if (notes["pages"], notes["optimized"]) != (pages, pages):
        raise RuntimeError(f"the census found {notes} instead of {pages} optimized pages")
    return notes


def section(runs: list[dict[str, Any]]) -> Section:
    """Time and memory by pages, and what 1 TiB would take at the same time a page."""
    rows: list[tuple[object, ...]] = []
    for notes in runs:
        seconds = figure(notes["seconds"], "s")
        each = figure((value / notes["pages"] * 1e6 for value in notes["seconds"]), "us")
        facts = figure([notes["facts_seconds"]], "s")
        rows.append((f"{notes['pages']:,}", seconds, each, facts, f"{notes['more_rss_kib']:,} KiB"))
    last = runs[-1]
    each = figure(value / last["pages"] for value in last["seconds"])
    whole = figure((value * TERABYTE_PAGES for value in each.values), "s")
    rows.append((f"{TERABYTE_PAGES:,} (1 TiB), extrapolated", whole, "-", "-", "-"))
    columns = ("huge pages of 2 MB", "a census", "a page", "BTF and symbols, once", "more memory")
    return Section("Census", ABOUT, BOUNDS, (table("Time", columns, rows),))


ABOUT = (
    f"`{KERNEL}` boots with huge pages of 2 MB from its command line, all optimized; then a census"
    " counts them, as the loader does at a start (there twice, 0.2 s apart). The guest is emulated:"
    " on hardware each takes less."
)
BOUNDS = (
    "For each page the kernel copies a list's element (copy_from_kernel_nofault) and Python counts"
    " it. Memory is one shared buffer for 256 elements, whatever the pool."
)

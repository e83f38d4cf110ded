# SPDX-License-Identifier: Apache-2.0
"""`hvoscope plan` held against the machine that runs this: its accounts, and where its pages lie.

Where the kernel has no HVO, or it is not for us to change, the plan must say as much or be of what
is there; no test is skipped.
"""

import mmap
from pathlib import Path

import pytest

from exporter.savings.forecast import Saving, savings
from exporter.savings.machine import GeometryOptions, target_from_host
from probes.kernel.host import Host
from tests.host.test_saved_bytes import PAGES, SWITCH, for_us_to_change, restored
from tests.kernel.predictions import parts_with_huge_pages

pytestmark = pytest.mark.host

LARGE = Path("/sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages")


def planned() -> tuple[tuple[Saving, ...], int | None]:
    """The plan for the pools as they are, and what the kernel says is saved."""
    target = target_from_host(Host(), mmap.PAGESIZE, GeometryOptions())
    return savings(target.geometry, target.demands), target.saved_now


def test_what_is_planned_for_the_pools_is_what_the_kernel_then_accounts_for() -> None:
    if not for_us_to_change():
        assert planned()[1] is None or SWITCH.exists()
        return
    with restored():
        PAGES.write_text("0")
        SWITCH.write_text("1")
        large = LARGE.read_text() if LARGE.exists() else "0"
        try:
            PAGES.write_text("509")
            grown = int(PAGES.read_text())
            if LARGE.exists():
                LARGE.write_text("1")  # the kernel gives none where no GB lies in one piece
            plan, saved = planned()
            parts = parts_with_huge_pages()
        finally:
            if LARGE.exists():
                LARGE.write_text(large)
    assert plan[0].count == grown > 0
    if saved is not None:
        assert saved == sum(saving.bytes_saved for saving in plan)
    least = max(saving.page_table_frames for saving in plan)
    assert least <= len(parts) <= sum(saving.page_table_frames_most for saving in plan)

# SPDX-License-Identifier: Apache-2.0
"""`hvoscope plan` compared with this machine: its memmap accounting and the location of its pages.

Without HVO in the kernel, or without root, the plan must report that or describe the current pools;
no test is skipped.
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
    """Return the plan for the current pools, and the saved bytes by the kernel's accounting."""
    target = target_from_host(Host(), mmap.PAGESIZE, GeometryOptions())
    return savings(target.geometry, target.demands), target.saved_now


def test_the_plan_equals_the_kernels_accounting() -> None:
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
                LARGE.write_text("1")  # the kernel allocates none without a contiguous GB
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

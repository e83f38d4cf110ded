# SPDX-License-Identifier: Apache-2.0
"""Saved bytes of this machine, read without privileges.

With HVO and root, the pool grows by 23 huge pages and shrinks again.
Otherwise the reader must report a reason, or no change: no test is skipped.
"""

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from probes.geometry import Geometry

pytestmark = pytest.mark.host

SWITCH = Path("/proc/sys/vm/hugetlb_optimize_vmemmap")
PAGES = Path("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages")
LOCK = Path("/run/lock/hvoscope-test-host")
REPOSITORY = Path(__file__).parents[2]
GROWN = 23
NOBODY = "65534"

READ = """
import json, os, sys
from probes.kernel.hugetlb_state import KernelState
from probes.kernel.host import Host
from probes.observation import known
def read_state():
    state = KernelState(Host())
    pages = state.memmap_pages()
    return known(state.saved_bytes(pages)), known(state.switch()), list(pages)
if len(sys.argv) > 1:
    read_state()  # load all required library modules, which only root may be able to read
    nobody = int(sys.argv[1])
    os.setgroups([])
    os.setresgid(nobody, nobody, nobody)
    os.setresuid(nobody, nobody, nobody)
print(json.dumps(read_state()))
"""


def observed(*user: str) -> tuple[int | None, bool | None, list[str]]:
    """Return saved bytes, the switch, and the available memmap counters, as read by a user."""
    command = [sys.executable, "-c", READ, *user]
    ran = subprocess.run(command, check=True, capture_output=True, timeout=60, cwd=REPOSITORY)
    saved, enabled, counters = json.loads(ran.stdout)
    return saved, enabled, counters


def for_us_to_change() -> bool:
    return os.access(SWITCH, os.W_OK) and os.access(PAGES, os.W_OK)


@contextmanager
def restored() -> Iterator[None]:
    """Hold exclusive use of pools and switch, and restore them afterwards."""
    LOCK.parent.mkdir(parents=True, exist_ok=True)
    with LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        pages, switch = PAGES.read_text(), SWITCH.read_text()
        try:
            yield
        finally:
            PAGES.write_text(pages)
            SWITCH.write_text(switch)


def test_23_pages_of_2mb_save_exactly_161_frames() -> None:
    if not for_us_to_change():
        saved, enabled, counters = observed()
        assert saved is None or counters
        assert enabled is None or SWITCH.exists()
        return
    with restored():
        PAGES.write_text("0")
        before, _, counters = observed(NOBODY)
        SWITCH.write_text("1")
        PAGES.write_text(str(GROWN))
        assert PAGES.read_text() == f"{GROWN}\n"
        grown, enabled, _ = observed(NOBODY)
        PAGES.write_text("0")
        after, _, _ = observed(NOBODY)
    assert enabled is True
    if set(counters) == {"boot", "runtime"}:
        per_page = Geometry(reserved_pages=1).free_vmemmap_pages_per_hpage(2 << 20)
        assert (before, grown, after) == (0, GROWN * per_page * 4096, 0) == (0, 659_456, 0)
    else:
        assert (before, grown, after) == (None, None, None)


def test_root_reads_nothing_that_other_users_can_not() -> None:
    other = (NOBODY,) if os.geteuid() == 0 else ()
    assert observed(*other) == observed()

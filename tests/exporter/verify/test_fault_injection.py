# SPDX-License-Identifier: Apache-2.0
"""Fault injection is on for one write of one task, then off again; tests/kernel has it real."""

import os
import threading
from pathlib import Path

import pytest

from exporter.verify.fault_injection import PROBABILITY, AllocationFailures
from exporter.verify.machine import ImpossibleError
from exporter.verify.saved_state import differences, put_back, read_settings
from probes.kernel.host import Host
from tests.probes.preflight_host import machine

FOLDER = "sys/kernel/debug/fail_page_alloc"
MARK = "proc/thread-self/make-it-fail"
FILES = {
    f"{FOLDER}/probability": "0\n",
    f"{FOLDER}/task-filter": "N\n",
    f"{FOLDER}/min-order": "1\n",
    f"{FOLDER}/ignore-gfp-wait": "Y\n",
    f"{FOLDER}/ignore-gfp-highmem": "Y\n",
    f"{FOLDER}/interval": "1\n",
    f"{FOLDER}/space": "0\n",
    f"{FOLDER}/times": "1\n",
    f"{FOLDER}/verbose": "2\n",
    MARK: "",
    "pool": "",
}


def contents(root: Path) -> dict[str, str]:
    """What is in fault injection's files."""
    return {path.name: path.read_text().strip() for path in (root / FOLDER).iterdir()}


def test_the_write_is_done_with_the_task_marked_and_all_is_as_before(tmp_path: Path) -> None:
    failures = AllocationFailures(machine(tmp_path, FILES))
    before = contents(tmp_path)
    assert failures.problem() == ""
    failures.write(tmp_path / "pool", "23")
    assert (tmp_path / "pool").read_text() == "23"
    assert (tmp_path / MARK).read_text() == "10"  # on, then off
    assert contents(tmp_path) == before


def test_while_it_writes_only_marked_tasks_fail(tmp_path: Path) -> None:
    """The open of a pipe waits for its reader, who looks around first."""
    failures = AllocationFailures(machine(tmp_path, FILES))
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    probability = tmp_path / "sys" / PROBABILITY
    seen: dict[str, str] = {}

    def look_and_read() -> None:
        while probability.read_text() != "100":
            pass
        seen.update(contents(tmp_path))
        seen["pipe"] = pipe.read_text()

    reader = threading.Thread(target=look_and_read)
    reader.start()
    failures.write(pipe, "23")
    reader.join()
    assert seen.pop("pipe") == "23"
    assert (seen["task-filter"], seen["min-order"], seen["times"]) == ("Y", "0", "-1")
    assert (seen["ignore-gfp-wait"], seen["ignore-gfp-highmem"]) == ("N", "Y")


def test_a_write_that_fails_is_tried_again_and_leaves_nothing_on(tmp_path: Path) -> None:
    failures = AllocationFailures(machine(tmp_path, FILES))
    before = contents(tmp_path)
    with pytest.raises(ImpossibleError, match="/dev/full: No space left"):
        failures.write(Path("/dev/full"), "23")
    assert (tmp_path / MARK).read_text() == "10" * 10
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({f"{FOLDER}/probability": "5\n"}, "fault injection is in use"),
        ({f"{FOLDER}/probability": None}, "CONFIG_FAIL_PAGE_ALLOC"),
        ({f"{FOLDER}/task-filter": None}, "CONFIG_FAULT_INJECTION_DEBUG_FS"),
        ({MARK: None}, "allocations can't be made to fail"),
    ],
)
def test_why_it_can_not_be(tmp_path: Path, changes: dict[str, str | None], reason: str) -> None:
    found = AllocationFailures(machine(tmp_path, {**FILES, **changes})).problem()
    assert reason in found
    assert "\n" not in found


def test_what_a_killed_run_leaves_on_is_named_and_put_back(tmp_path: Path) -> None:
    settings = read_settings(machine(tmp_path, FILES))
    probability = tmp_path / "sys" / PROBABILITY
    probability.write_text("100")
    assert differences(settings) == (f"{probability} is 100, it was 0",)
    assert put_back(settings) == ()
    assert read_settings(Host(proc=tmp_path / "proc", sys=tmp_path / "sys")) == settings

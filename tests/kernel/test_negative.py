# SPDX-License-Identifier: Apache-2.0
"""The product where there is nothing to count: one diagnosis, and no number that was not seen."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.exporter.golden import OF_THE_EXPORTER
from tests.guests.kernel_matrix import under_test
from tests.guests.kernels import Kernels
from tests.guests.precompiled import with_programs
from tests.guests.qemu import run_in_guest
from tests.kernel.negative import GROW

pytestmark = pytest.mark.kernel

GUEST_TIMEOUT_S = 600
STATES_KERNEL = "debian-6.1"
"""HVO off and hidden addresses are states of a kernel, not kernels."""

# Name of the one finding that is a problem, and a part of what it says.
PROBLEM = {
    "debian-5.10": ("hvo", "this kernel has no HugeTLB vmemmap optimization"),
    "patched-slob": ("struct page", "56 bytes, not a power of two"),
}

WARNINGS = {"debian-5.10": {"config"}}
"""The configuration beside its headers lacks the option."""

Notes = Mapping[str, Any]
Samples = list[tuple[str, Mapping[str, str], float]]


def observe(kernels: Kernels, kernel_name: str, job: str, out: Path) -> Notes:
    """Boot the test kernel, do the job of negative.py there, and read its notes."""
    command = (sys.executable, "-m", "tests.kernel.negative", job, str(out))
    kernel = kernels(kernel_name)
    if job == "states":
        kernel = with_programs(kernel)
    run = run_in_guest(kernel, command, out=out, timeout_s=GUEST_TIMEOUT_S)
    assert run.exit_code == 0, run.stderr
    notes: Notes = json.loads((out / "notes.json").read_text())
    return notes


def samples(scrape: str) -> Samples:
    """Every sample of a scrape."""
    return [
        (sample.name, sample.labels, sample.value)
        for family in text_string_to_metric_families(scrape)
        for sample in family.samples
    ]


def total(scrape: str, name: str, **labels: str) -> float:
    """Sum of all samples of that name that carry the labels; fails when there is none."""
    found = [v for n, has, v in samples(scrape) if n == name and labels.items() <= has.items()]
    assert found, f"no {name} with {labels}"
    return sum(found)


def findings(check: Notes, verdict: str) -> dict[str, str]:
    """What `check --json` found of that verdict, by name."""
    report = json.loads(check["stdout"])
    return {f["name"]: f["what"] for f in report["findings"] if f["verdict"] == verdict}


def ready(check: Notes) -> tuple[int, bool]:
    """Exit code of `check`, and what it says in words."""
    return check["exit_code"], json.loads(check["stdout"])["ready"]


@pytest.fixture(scope="module", params=under_test(works=False))
def hopeless(
    request: pytest.FixtureRequest, kernels: Kernels, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Notes]:
    """One boot of each kernel whose HVO is absent or can never work."""
    kernel_name: str = request.param
    return kernel_name, observe(
        kernels, kernel_name, "hopeless", tmp_path_factory.mktemp(kernel_name)
    )


def test_check_finds_the_one_problem(hopeless: tuple[str, Notes]) -> None:
    kernel_name, notes = hopeless
    name, what = PROBLEM[kernel_name]
    assert ready(notes["check"]) == (1, False)
    assert notes["check"]["stderr"] == ""
    problems = findings(notes["check"], "problem")
    assert list(problems) == [name]
    assert what in problems[name]
    assert set(findings(notes["check"], "warning")) == WARNINGS.get(kernel_name, set())


def test_serve_says_the_same_and_stays(hopeless: tuple[str, Notes]) -> None:
    kernel_name, notes = hopeless
    _, what = PROBLEM[kernel_name]
    (line,) = [line for line in notes["log"].splitlines() if " ERROR " in line]
    assert what in line
    status, answer = notes["ready"]
    assert status == 503
    assert what in answer
    assert (notes["alive"], notes["exit_code"]) == (True, 0)
    assert "Traceback" not in notes["log"]


def test_nothing_is_counted_where_nothing_can_be(hopeless: tuple[str, Notes]) -> None:
    _, notes = hopeless
    names = {name for name, _, _ in samples(notes["scrape"])}
    counted = {name for name in names if name.endswith(("_total", "_bucket", "_count"))}
    assert counted == OF_THE_EXPORTER
    assert total(notes["scrape"], "hvo_probe_attached") == 0
    assert notes["hooks_while_serving"] == notes["hooks_left"] == ""


def test_the_kernels_own_state_is_served_all_the_same(hopeless: tuple[str, Notes]) -> None:
    _, notes = hopeless
    assert total(notes["scrape"], "hvo_pool_hugepages", size="2MB") == 5
    assert total(notes["scrape"], "hvo_backend_info", kernel=notes["release"]) == 1


@pytest.fixture(
    scope="module",
    params=[kernel_name for kernel_name in under_test() if kernel_name == STATES_KERNEL],
)
def states(
    request: pytest.FixtureRequest, kernels: Kernels, tmp_path_factory: pytest.TempPathFactory
) -> Notes:
    """One boot of a kernel whose HVO works: switched off, then with addresses hidden as well."""
    return observe(kernels, request.param, "states", tmp_path_factory.mktemp("states"))


def skipped(scrape: str) -> dict[str, float]:
    """Pages of 2 MB that were not optimised, by reason; reasons that never came are left out."""
    found: dict[str, float] = {}
    for name, labels, value in samples(scrape):
        if name == "hvo_hugepages_skipped_total" and labels["size"] == "2MB" and value:
            found[labels["reason"]] = found.get(labels["reason"], 0) + value
    return found


def test_switched_off_is_a_warning_and_a_reason(states: Notes) -> None:
    notes = states["off"]
    assert ready(notes["check"]) == (0, True)
    assert list(findings(notes["check"], "warning")) == ["switch"]
    assert "HVO is switched off" in notes["log"]
    scrape = notes["scrapes"][GROW]
    assert total(scrape, "hvo_optimize_calls_total", size="2MB") == 5
    assert skipped(scrape) == {"off": 5}
    assert total(scrape, "hvo_hugepages_optimized_total") == 0
    assert total(scrape, "hvo_frames_freed_total") == 0


def test_with_hidden_addresses_the_reason_is_unknown(states: Notes) -> None:
    notes = states["hidden"]
    assert ready(notes["check"]) == (0, True)
    assert set(findings(notes["check"], "warning")) == {"switch", "kptr_restrict"}
    scrape = notes["scrapes"][GROW]
    assert total(scrape, "hvo_optimize_calls_total", size="2MB") == 5
    assert skipped(scrape) == {"unknown": 5}


def test_with_hidden_addresses_the_counts_stay_exact(states: Notes) -> None:
    scrape = states["hidden"]["scrapes"]["grow 2MB 23"]
    assert total(scrape, "hvo_hugepages_optimized_total", size="2MB") == 23
    assert total(scrape, "hvo_ptes_remapped_total", size="2MB") == 161
    assert total(scrape, "hvo_frames_freed_total", size="2MB") == 161
    assert skipped(scrape) == {"unknown": 5}
    freed = states["hidden"]["scrapes"]["shrink 2MB 23"]
    assert total(freed, "hvo_frames_allocated_total", size="2MB", cause="restore") == 161


def test_every_kernel_without_hvo_has_its_diagnosis() -> None:
    assert set(under_test(works=False)) <= set(PROBLEM)

# SPDX-License-Identifier: Apache-2.0
"""The product on real kernels: what it counts, held against the kernel's own accounting."""

import itertools
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from probes.counters import Counters, Histogram, PageKey, Slot, reduce
from probes.events import Event, canonical, unpack_all
from probes.geometry import GIB
from probes.operations import parse_operation
from sim_backend.kernel.sim_kernel import SimKernel
from tests.exporter.golden import GOLDEN, OF_THE_EXPORTER, shape
from tests.guests.kernel_matrix import whole
from tests.guests.kernels import Kernels
from tests.guests.precompiled import with_programs
from tests.guests.qemu import run_in_guest
from tests.kernel.expected import EXPECTED, Expected
from tests.kernel.workload import OPERATIONS
from tests.tools import need

pytestmark = pytest.mark.kernel

GUEST_TIMEOUT_S = 1500
"""Two minutes on a quiet machine, most of them BCC under emulation; ten on one at load 20."""

MEMORY_MIB = 12 * 1024
"""Over two nodes: with 8 GiB there is not always a free GB in one piece."""

Samples = Mapping[tuple[str, frozenset[tuple[str, str]]], float]


@dataclass(frozen=True)
class Observation:
    """The guest's notes, and what this kernel should have done."""

    notes: dict[str, Any]
    events: bytes
    expected: Expected

    @property
    def operations(self) -> tuple[str, ...]:
        """What was done, in order."""
        return tuple(step["op"] for step in self.notes["counts"]["steps"])

    def scrape_after(self, operation: str) -> Samples:
        """The scrape that followed an operation."""
        return samples(self._step(operation)["scrape"])

    def memtotal_rise_frames(self, operation: str) -> int:
        """By how many frames MemTotal rose with an operation."""
        steps = [self.notes["counts"]["start"], *self.notes["counts"]["steps"]]
        at = steps.index(self._step(operation))
        rise = steps[at]["kernel"]["memtotal_kib"] - steps[at - 1]["kernel"]["memtotal_kib"]
        assert rise % 4 == 0
        return int(rise // 4)

    def node_of_1gb(self) -> int:
        """The NUMA node whose pool the 1 GB page went to, by sysfs."""
        pools = self._step("grow 1GB 1")["kernel"]["pools"]
        return next(n for n in range(len(pools)) if pools.get(f"node{n} hugepages-1048576kB"))

    def _step(self, operation: str) -> dict[str, Any]:
        return next(s for s in self.notes["counts"]["steps"] if s["op"] == operation)


def samples(text: str) -> Samples:
    """Every sample of a scrape by name and labels."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def total(scrape: Samples, name: str, **labels: str) -> float:
    """Sum of all samples of that name that carry the labels; fails when there is none."""
    found = [v for (n, has), v in scrape.items() if n == name and labels.items() <= has]
    assert found, f"no {name} with {labels}"
    return sum(found)


@pytest.fixture(scope="module", params=whole())
def seen(
    request: pytest.FixtureRequest, kernels: Kernels, tmp_path_factory: pytest.TempPathFactory
) -> Observation:
    """One boot of each kernel, with everything that is asked of it."""
    out = tmp_path_factory.mktemp(request.param)
    operations = EXPECTED[request.param].done(OPERATIONS)
    command = (sys.executable, "-m", "tests.kernel.workload", str(out), *operations)
    kernel = kernels(request.param)
    run = run_in_guest(
        # In one guest BCC compiles as it does on a host: that takes minutes under emulation.
        kernel if request.param == whole()[0] else with_programs(kernel),
        command,
        out=out,
        memory_mib=MEMORY_MIB,
        timeout_s=GUEST_TIMEOUT_S,
    )
    assert run.exit_code == 0, run.stderr
    return Observation(
        json.loads((out / "notes.json").read_text()),
        (out / "events.bin").read_bytes(),
        EXPECTED[request.param],
    )


def test_probes_sit_on_the_expected_functions(seen: Observation) -> None:
    scrape = seen.scrape_after(seen.operations[-1])
    attached = {
        (dict(labels)["step"], dict(labels)["symbol"]): value
        for (name, labels), value in scrape.items()
        if name == "hvo_probe_attached"
    }
    batched = ("batch", "hugetlb_vmemmap_optimize_folios")
    if seen.expected.head:  # from 6.7 on
        assert attached.pop(batched) == 1
    # Where the compiler split it (GCC on 7.2), its caller and its part are watched too.
    split = [key for key in attached if key[0] == "optimize" and key[1] != seen.expected.optimize]
    assert all(attached.pop(key) == 1 for key in split)
    if not seen.expected.head:  # from 6.7 on the optimisation returns its result itself
        assert attached.pop(("remap_range", seen.expected.remap_range)) == 1
    restores = {("restore", seen.expected.restore): 1, ("restore_pte", "vmemmap_restore_pte"): 1}
    assert attached == {
        ("optimize", seen.expected.optimize): 1,
        ("remap_pte", "vmemmap_remap_pte"): 1,
        **(restores if seen.expected.restore else {}),
    }


def test_switched_off_nothing_is_saved(seen: Observation) -> None:
    if not seen.expected.restore:  # such a kernel has no switch either
        assert "hvo off" not in seen.operations
        return
    scrape = seen.scrape_after("grow 2MB 5")
    assert total(scrape, "hvo_optimize_calls_total") == 5
    assert total(scrape, "hvo_hugepages_skipped_total", size="2MB", reason="off") == 5
    assert total(scrape, "hvo_ptes_remapped_total") == 0
    assert total(scrape, "hvo_enabled") == 0
    assert seen.memtotal_rise_frames("grow 2MB 5") == 0


def test_23_pages_of_2mb(seen: Observation) -> None:
    scrape = seen.scrape_after("grow 2MB 23")
    frames = 23 * seen.expected.ptes_2mb
    before = 5 if seen.expected.restore else 0
    assert total(scrape, "hvo_optimize_calls_total", size="2MB") == before + 23
    assert total(scrape, "hvo_hugepages_optimized_total", size="2MB") == 23
    assert total(scrape, "hvo_ptes_remapped_total", size="2MB") == frames
    assert total(scrape, "hvo_frames_freed_total", size="2MB") == frames
    assert seen.memtotal_rise_frames("grow 2MB 23") == frames
    if seen.expected.restore:
        assert total(scrape, "hvo_enabled") == 1


def test_one_page_of_1gb(seen: Observation) -> None:
    scrape = seen.scrape_after("grow 1GB 1")
    frames = seen.expected.ptes_1gb
    assert total(scrape, "hvo_optimize_calls_total", size="1GB") == 1
    assert total(scrape, "hvo_ptes_remapped_total", size="1GB") == frames
    assert total(scrape, "hvo_frames_freed_total", size="1GB") == frames
    assert seen.memtotal_rise_frames("grow 1GB 1") == frames


def test_a_kernel_without_a_restore_has_no_series_of_it(seen: Observation) -> None:
    scrape = seen.scrape_after(seen.operations[-1])
    restores = {
        (name, labels)
        for name, labels in scrape
        if "restore" in name or any(value.startswith("restore") for _, value in labels)
    }
    assert bool(restores) == bool(seen.expected.restore)


def test_freed_again_the_same_numbers_come_back(seen: Observation) -> None:
    scrape = seen.scrape_after(seen.operations[-1])
    if not seen.expected.restore:
        # Before Linux 5.12 nothing counts what a trampoline misses: no series.
        assert not any(name == "hvo_probe_missed_total" for name, _ in scrape)
        return
    head = seen.expected.head
    for size, pages, ptes in (
        ("2MB", 23, 23 * (seen.expected.ptes_2mb - head)),
        ("1GB", 1, seen.expected.ptes_1gb - head),
    ):
        assert total(scrape, "hvo_hugepages_restored_total", size=size) == pages
        assert total(scrape, "hvo_ptes_restored_total", size=size) == ptes
        assert total(scrape, "hvo_frames_allocated_total", size=size, cause="restore") == ptes
        assert total(scrape, "hvo_frames_allocated_total", size=size, cause="head") == head * pages
    assert total(scrape, "hvo_restore_failures_total") == 0
    assert total(scrape, "hvo_optimize_failures_total") == 0
    assert total(scrape, "hvo_probe_missed_total") == 0


def test_probes_and_kernel_agree(seen: Observation) -> None:
    steps = [seen.notes["counts"]["start"], *seen.notes["counts"]["steps"]]
    drifts = [
        samples(step["scrape"]).get(("hvo_accounting_drift_frames", frozenset()))
        for step in steps
        if step["kernel"]["memmap_pages"] is not None
    ]
    assert set(drifts) <= {0}
    # nr_memmap_* came with Linux 6.11, the new head page with 6.2.
    assert len(drifts) == (len(steps) if seen.expected.head else 0)


def test_saved_bytes_are_what_the_kernel_gave_back_since_boot(seen: Observation) -> None:
    steps = [seen.notes["counts"]["start"], *seen.notes["counts"]["steps"]]
    saved = [samples(step["scrape"]).get(("hvo_memmap_saved_bytes", frozenset())) for step in steps]
    memmap = [step["kernel"]["memmap_pages"] for step in steps]
    if seen.expected.head:  # Linux 6.11 and later; no huge page was there at boot
        assert saved == [(memmap[0] - now) * 4096 for now in memmap]
    else:
        assert set(saved) == {None}


def test_live_and_simulated_scrapes_have_the_same_families_and_labels(seen: Observation) -> None:
    live = shape(seen.notes["counts"]["steps"][-1]["scrape"])
    simulated = shape(GOLDEN.read_text())
    if seen.expected.head:
        assert live == simulated
    else:  # an older kernel shows less, but nothing else
        assert live.items() < simulated.items()


def test_durations_count_every_page_that_was_worked_on(seen: Observation) -> None:
    scrape = seen.scrape_after(seen.operations[-1])
    for direction in ("optimize", "restore") if seen.expected.restore else ("optimize",):
        name = f"hvo_{direction}_duration_seconds"
        assert total(scrape, f"{name}_count", size="2MB") == 23
        assert total(scrape, f"{name}_count", size="1GB") == 1
        assert 0 < total(scrape, f"{name}_sum", size="2MB") < 10


def test_nodes_are_the_kernels_own(seen: Observation) -> None:
    step = next(s for s in seen.notes["counts"]["steps"] if s["op"] == "grow 1GB 1")
    scrape = samples(step["scrape"])
    for place, pages in step["kernel"]["pools"].items():
        node, folder = place.split()
        size = {"hugepages-2048kB": "2MB", "hugepages-1048576kB": "1GB"}[folder]
        labels = {"size": size, "numa_node": node.removeprefix("node")}
        assert total(scrape, "hvo_hugepages_optimized_total", **labels) == pages
        assert total(scrape, "hvo_pool_hugepages", **labels) == pages


def test_the_event_stream_reduces_to_the_counters(seen: Observation) -> None:
    notes = seen.notes["counts"]
    assert notes["lost"] == {"ring": 0}
    assert set(notes["missed"].values()) == ({0} if seen.expected.restore else set())
    recorded = Counters(
        {
            (Slot(family, detail), PageKey(order, node)): n
            for family, detail, order, node, n in notes["recorder"]["totals"]
        },
        {
            (direction, order): Histogram(tuple(counts), total_ns)
            for direction, order, counts, total_ns in notes["recorder"]["durations"]
        },
    )
    keys = {key for _, key in recorded.totals}
    durations = {direction for direction, _ in recorded.durations}
    reduced = reduce(unpack_all(seen.events), keys, durations)
    # What can't be observed is absent from the counters.
    observed = {key: n for key, n in reduced.totals.items() if key in recorded.totals}
    assert Counters(observed, reduced.durations) == recorded
    assert {n for key, n in reduced.totals.items() if key not in recorded.totals} <= {0}


def test_the_simulator_does_the_same_event_by_event(seen: Observation) -> None:
    simulated: list[Event] = []
    kernel = SimKernel(
        seen.expected.generation,
        nodes=2,
        memory_per_node=6 * GIB,
        hvo=not seen.expected.restore,
        emit=simulated.append,
    )
    # In the guest, nodes below the one that gave the 1 GB page have no free GB in one piece.
    for node in range(seen.node_of_1gb()):
        kernel.hold_memory(node, leave=GIB // 2 // 4096)
    for text in seen.operations:
        kernel.operate(parse_operation(text))
    pairs = itertools.zip_longest(canonical(unpack_all(seen.events)), canonical(simulated))
    for number, (real, made) in enumerate(pairs):
        assert real == made, f"event {number} differs"
    assert number > (2 if seen.expected.restore else 1) * seen.expected.ptes_1gb


def test_sequence_numbers_have_no_gap(seen: Observation) -> None:
    following: dict[int, int] = {}
    for event in unpack_all(seen.events):
        assert event.sequence == following.get(event.cpu, 0)
        following[event.cpu] = event.sequence + 1
    assert following


def test_ready_only_once_attached(seen: Observation) -> None:
    assert seen.notes["counts"]["ready_before_attach"] == [503, "not ready: not started\n"]


def test_the_daemon_is_small_and_leaves_nothing_behind(seen: Observation) -> None:
    notes = seen.notes["counts"]
    assert notes["rss_kib"] < 40 * 1024
    assert seen.expected.optimize in notes["hooks_while_serving"]
    assert notes["hooks_left"] == ""
    assert notes["exit_code"] == 0


def test_paths(seen: Observation) -> None:
    status, page = seen.notes["counts"]["landing_page"]
    assert status == 200
    assert seen.expected.optimize in page
    assert "Simulated" not in page
    assert seen.notes["counts"]["elsewhere"][0] == 404


def test_trace_prints_a_table_and_ends(seen: Observation) -> None:
    trace = seen.notes["trace"]
    assert (trace["exit_code"], trace["stderr"]) == (0, "")
    header, *rows = trace["stdout"].splitlines()
    assert header.split()[:5] == ["TIME(s)", "CPU", "PID", "COMM", "STEP"]
    steps = [row.split()[4] for row in rows]
    if seen.expected.head:  # from 6.7 on a list is handed over whole
        assert steps.pop(0) == "batch_enter"
    assert steps[:3] == ["optimize_enter", "remap_range", "remap_pte"]
    assert len(rows) == 9


def test_dashboards_and_rules_find_what_they_ask_for(seen: Observation, tmp_path: Path) -> None:
    need("prometheus", "prometheus")
    notes = seen.notes["counts"]
    scrapes = tmp_path / "before.txt", tmp_path / "after.txt"
    for path, step in zip(scrapes, (notes["start"], notes["steps"][-1]), strict=True):
        path.write_text(step["scrape"])
    proof = subprocess.run(
        [sys.executable, "-m", "dashboards.prove", "--scrape", *scrapes],
        capture_output=True,
        text=True,
        check=False,
    )
    assert proof.returncode == 0, proof.stdout + proof.stderr
    assert ", 0 wrong" in proof.stdout.splitlines()[-1]


@pytest.mark.parametrize(
    ("obstacle", "said"),
    [
        ("unprivileged", "no privilege to attach probes: run as root"),
        ("no headers", "no kernel headers for {release}: apt install linux-headers-{release}"),
        ("no bcc", "BCC is not installed: apt install python3-bpfcc"),
    ],
)
def test_an_obstacle_is_one_line_with_its_fix(seen: Observation, obstacle: str, said: str) -> None:
    notes = seen.notes["refused"][obstacle]
    said = said.format(release=seen.notes["release"])
    assert notes["trace_exit_code"] == 2
    (line,) = notes["trace_stderr"].splitlines()
    assert line.startswith("hvoscope: error: ")
    assert said in line
    assert said in notes["log"]
    assert "Traceback" not in notes["log"]
    assert notes["hooks_left"] == ""


@pytest.mark.parametrize("obstacle", ["unprivileged", "no headers", "no bcc"])
def test_without_probes_state_is_served_and_the_rest_is_absent(
    seen: Observation, obstacle: str
) -> None:
    notes = seen.notes["refused"][obstacle]
    assert notes["ready"][0] == 503
    scrape = samples(notes["scrape"])
    assert total(scrape, "hvo_probe_attached") == 0
    assert total(scrape, "hvo_pool_hugepages", size="2MB") == notes["pool_2mb"]
    counted = {name for name, _ in scrape if name.endswith(("_total", "_bucket"))}
    assert counted == OF_THE_EXPORTER

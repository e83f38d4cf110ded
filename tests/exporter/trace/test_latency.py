# SPDX-License-Identifier: Apache-2.0
import json

import pytest

from exporter.trace.latency import Latencies
from probes.events import Event, Kind, unpack_all
from probes.geometry import MIB
from probes.operations import parse_operation
from sim_backend.backend import SimBackend
from sim_backend.kernel.sim_kernel import SimKernel

DONE = Event(
    kind=Kind.OPTIMIZE_EXIT, order=9, tgid=23, pid=509, comm=b"sysctl", ptes=7, duration_ns=5_000
)
RESTORED = DONE._replace(kind=Kind.RESTORE_EXIT, tgid=1009, comm=b"qemu", duration_ns=9_000)


def found(*events: Event) -> Latencies:
    latencies = Latencies(4096)
    latencies.add(events)
    return latencies


def test_operations_by_size_in_a_fixed_order() -> None:
    batch = DONE._replace(kind=Kind.BATCH_EXIT)
    large = DONE._replace(order=18)
    shown = [(name, size) for name, size, _ in found(batch, RESTORED, large, DONE).histograms()]
    assert shown == [
        ("optimize", 2 * MIB),
        ("optimize", 1024 * MIB),
        ("restore", 2 * MIB),
        ("batch", 2 * MIB),
    ]


def test_calls_with_nothing_to_do_are_counted_but_not_timed() -> None:
    skipped = DONE._replace(ptes=0, duration_ns=300)
    empty = skipped._replace(kind=Kind.BATCH_EXIT)
    failed = skipped._replace(ret=-12, duration_ns=700)
    latencies = found(skipped, empty, failed)
    ((name, _, histogram),) = latencies.histograms()
    assert (name, histogram.count, histogram.sum_ns) == ("optimize", 1, 700)
    ((_, _, work),) = latencies.processes()
    assert (work.skipped, work.failed, work.optimized, work.time_ns) == (1, 1, 0, 1_000)


def test_threads_of_a_process_are_summed_and_the_slowest_is_first() -> None:
    latencies = found(DONE, DONE._replace(pid=510), RESTORED, RESTORED._replace(order=18))
    (pid, comm, work), other = latencies.processes()
    assert (pid, comm, work.restored, work.ptes, work.time_ns) == (1009, "qemu", 2, 14, 18_000)
    assert (other[0], other[2].optimized) == (23, 2)


def test_entries_and_ptes_are_ignored() -> None:
    latencies = found(*(DONE._replace(kind=kind) for kind in Kind if not kind.name.endswith("IT")))
    assert list(latencies.processes()) == []
    assert list(latencies.lines()) == ["no huge page was optimized or restored"]


def test_lines_and_json_have_the_same_numbers() -> None:
    latencies = found(DONE, RESTORED, RESTORED._replace(comm=b"\x1b[31m", tgid=3))
    *_, first, second, third = latencies.lines()
    assert first.split() == ["1009", "qemu", "0", "1", "0", "0", "7", "0.009"]
    assert second.split()[1] == r"\x1b[31m"
    assert third.split() == ["23", "sysctl", "1", "0", "0", "0", "7", "0.005"]
    both = json.loads(latencies.to_json())
    assert [one["time_ns"] for one in both["processes"]] == [9_000, 9_000, 5_000]
    assert both["latencies"][0] == {
        **{"operation": "optimize", "size": "2MB", "count": 1},
        **{"sum_ns": 5_000, "min_ns": 5_000, "max_ns": 5_000},
        "slots": [{"from_us": 4, "to_us": 7, "count": 1}],
    }


@pytest.mark.parametrize("kernel", ["5.14", "7.3"])
def test_a_simulated_kernel_is_timed_as_its_counters_are(kernel: str) -> None:
    backend = SimBackend(SimKernel(kernel, nodes=2), stream=True)
    backend.start()
    for text in ("grow 2MB 23", "grow 1GB 1", "shrink 2MB 11"):
        backend.operate(parse_operation(text))
    counters = backend.observe().counters
    backend.stop()
    latencies = found(*(event for block in backend.records() for event in unpack_all(block)))
    timed = {(name, size): histogram for name, size, histogram in latencies.histograms()}
    for (name, order), histogram in counters.durations.items():
        mine = timed.get((name, 4096 << order))
        assert (mine.count if mine else 0) == sum(histogram.counts)
        assert (mine.sum_ns if mine else 0) == histogram.sum_ns
    work = [work for _, _, work in latencies.processes()]
    assert sum(one.optimized for one in work) == counters.total("hugepages_optimized")
    restored = counters.total("ptes_restored") or 0
    assert sum(one.ptes for one in work) == (counters.total("ptes_remapped") or 0) + restored

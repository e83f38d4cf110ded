# SPDX-License-Identifier: Apache-2.0
import dataclasses

import pytest

from exporter.top import rows
from exporter.top.history import History
from probes.counters import Counters, PageKey, Slot
from probes.geometry import GIB, MIB
from probes.observation import Absent, Census, Memmap
from tests.exporter.top.observations import INFO, Simulated, at, counted


def test_rates_of_v17() -> None:
    history = Simulated().after("grow 2MB 23", "shrink 2MB 23").history
    flows = {flow.name: flow for flow in rows.flows(history)}
    assert flows["optimized"].trend == [23.0, 0.0]
    assert (flows["PTEs remapped"].total, flows["frames freed"].total) == (138, 138)
    assert (flows["frames alloc"].now, flows["restored"].now) == (138.0, 23.0)
    assert flows["frames freed"].minute == 69.0
    assert rows.saved_bytes(history.last, INFO) == 0


@pytest.mark.parametrize(
    ("generation", "each"), [("v17", 0), ("v17-enabled", 6), ("6.0", 7), ("6.7", 7), ("7.1", 7)]
)
def test_saved_is_net_of_new_heads(generation: str, each: int) -> None:
    history = Simulated(generation).after("grow 2MB 509").history
    assert rows.saved_bytes(history.last, INFO) == 509 * each * 4096


def test_pools_and_counters_share_a_row_by_size_and_node() -> None:
    simulated = Simulated(nodes=2).after("grow 2MB 23", "grow 1GB 1", "hvo off", "grow 2MB 5")
    found = rows.pool_rows(simulated.history, simulated.backend.info)
    assert [(row.size, row.node) for row in found] == [
        (2 * MIB, 0),
        (2 * MIB, 1),
        (1 * GIB, 0),
        (1 * GIB, 1),
    ]
    assert sum(row.pages or 0 for row in found[:2]) == 28
    assert sum(row.optimized or 0 for row in found[:2]) == 23
    assert sum(row.saved or 0 for row in found) == (23 * 6 + 4094) * 4096
    assert sum(row.possible or 0 for row in found) == (28 * 6 + 4094) * 4096
    assert {row.rate for row in found} == {0.0}


def test_a_pool_without_probes_has_no_counters() -> None:
    simulated = Simulated().after("grow 2MB 23")
    last = simulated.history.last
    blind = History(at(0.0))
    blind.add(dataclasses.replace(at(1.0), pools=last.pools))
    row = rows.pool_rows(blind, INFO)[0]
    assert (row.pages, row.free) == (12, 12)
    assert (row.optimized, row.rate, row.failed, row.saved, row.possible) == (None,) * 5


def test_counters_without_a_pool_have_no_pages() -> None:
    (row,) = rows.pool_rows(History(at(0.0, counted(optimize_failures__ENOMEM=23))), INFO)
    assert (row.pages, row.free, row.surplus, row.failed) == (None, None, None, 23)


def test_pages_of_before_the_start_are_optimized_and_saved() -> None:
    census = Census({PageKey(9, 0): 37}, {9: 7})
    history = History(dataclasses.replace(at(0.0, counted()), census=census))
    (row,) = rows.pool_rows(history, INFO)
    assert (row.optimized, row.saved, row.possible) == (37, 37 * 7 * 4096, None)
    assert rows.saved_now(history.last, INFO) == 37 * 7 * 4096


def test_without_a_census_the_kernels_accounting_says_what_is_saved() -> None:
    memmap = Memmap({"boot": 509, "runtime": 0}, 23 * 4096)
    seen = dataclasses.replace(at(0.0), census=Absent("no BTF"), memmap=memmap)
    assert rows.saved_now(seen, INFO) == 23 * 4096
    assert rows.saved_now(at(0.0), INFO) is None


def test_failures_by_operation_and_errno() -> None:
    counters = counted(optimize_failures__ENOMEM=3, restore_failures__other=1)
    assert rows.failures(at(0.0, counters)) == {"optimize ENOMEM": 3, "restore other": 1}
    assert rows.failures(at(0.0, counted())) == {}
    assert rows.failures(at(0.0)) is None
    half = Counters({(Slot("restore_failures", "ENOMEM"), PageKey(9, 0)): 0})
    assert rows.failures(at(0.0, half)) is None


def test_latencies_are_those_observed() -> None:
    simulated = Simulated("6.7").after("grow 2MB 23", "grow 1GB 1")
    found = rows.latencies(simulated.history, simulated.backend.info, None)
    timed = {(latency.name, latency.size): latency.timed for latency in found}
    assert timed == {
        ("optimize", 2 * MIB): 23,
        ("optimize", 1 * GIB): 1,
        ("restore", 2 * MIB): 0,
        ("restore", 1 * GIB): 0,
        ("batch", 2 * MIB): 1,
        ("batch", 1 * GIB): 1,
    }
    for latency in found:
        if latency.timed:
            assert latency.p50 and latency.p90 and latency.p99
            assert 0 < latency.p50 <= latency.p90 <= latency.p99
        else:
            assert (latency.p50, latency.p90, latency.p99) == (None, None, None)


def test_unknown_values_sort_last_in_either_direction() -> None:
    simulated = Simulated(nodes=1).after("grow 2MB 23", "grow 1GB 1")
    small, large = rows.pool_rows(simulated.history, simulated.backend.info)
    unknown = small._replace(size=32 * MIB, pages=None, optimized=None)
    found = [unknown, small, large]
    assert rows.sort_rows(found, "total", reverse=False) == [large, small, unknown]
    assert rows.sort_rows(found, "total", reverse=True) == [small, large, unknown]
    assert [row.size for row in rows.sort_rows(found, "size", reverse=True)] == [
        1 * GIB,
        32 * MIB,
        2 * MIB,
    ]

# SPDX-License-Identifier: Apache-2.0
import dataclasses

import pytest

from exporter.top.history import History
from exporter.top.screen import HEIGHT, WIDTH, View, draw
from exporter.top.spark import sparkline
from probes.backend import Info
from probes.counters import SLOTS, Counters, PageKey
from probes.geometry import GIB, MIB
from probes.observation import Census, Pool, Pools, ProbeStatus, Status
from sim_backend.kernel.generation import GENERATIONS
from tests.exporter.top.observations import BLIND, INFO, Simulated, at, counted

STORY = ("grow 2MB 509", "grow 1GB 1", "shrink 2MB 23", "hvo off", "grow 2MB 5")


def text(
    history: History,
    info: Info = INFO,
    view: View | None = None,
    size: tuple[int, int] = (WIDTH, HEIGHT),
) -> str:
    lines = draw(history, info, view or View(), *size)
    assert len(lines) == size[1]
    assert max(line.cell_len for line in lines) <= size[0]
    return "\n".join(line.plain.rstrip() for line in lines)


@pytest.mark.parametrize("generation", GENERATIONS)
def test_80_by_24_shows_everything(generation: str) -> None:
    simulated = Simulated(generation).after(*STORY)
    shown = text(simulated.history, simulated.backend.info)
    assert "…" not in shown
    assert f"SIMULATED kernel {generation}" in shown
    for label in ("PER SECOND", "LATENCY", "frames alloc", "failures      none", "w  latency: all"):
        assert label in shown
    rows = [line.split() for line in shown.splitlines()]
    pools = [row for row in rows if row and row[0] in ("2MB", "1GB")]
    assert [" ".join(row[:2]) for row in pools] == ["2MB 0", "2MB 1", "1GB 0", "1GB 1"]
    assert sum(int(row[2]) for row in pools) == 509 + 1 - 23 + 5


def test_the_screen_shows_the_counters() -> None:
    simulated = Simulated("6.0", nodes=1).after("grow 2MB 509", "shrink 2MB 23")
    shown = text(simulated.history, simulated.backend.info)
    rows = [line.split() for line in shown.splitlines()]
    assert ["2MB", "0", "486", "486", "0", "486", "0", "0", *["13.3", "MiB"] * 2] in rows
    assert "saved 13.3 MiB   since start 13.3 MiB   memmap " in shown
    assert "drift 0" in shown
    restored = next(row for row in rows if row[:1] == ["restored"])
    assert restored[1:3] == ["23", "11.5"]


def test_without_probes_values_are_dashes_and_the_reason_is_shown() -> None:
    history = History(at(0.0, status=BLIND))
    history.add(
        dataclasses.replace(at(1.0, status=BLIND), pools=Pools((Pool(2 * MIB, 0, "total", 23),)))
    )
    shown = text(history)
    rows = [line.split() for line in shown.splitlines()]
    assert "saved -   since start -   memmap -   HVO -" in shown
    assert "probes 0 of 1   missed -   lost -   map errors -   drift -" in shown
    assert "not ready: this kernel has no kprobes" in shown
    for name in ("optimized", "restored", "skipped"):
        assert [name, "-", "-"] in rows
    assert ["failures", "-"] in rows
    assert ["2MB", "0", "23", *"--", *"-----"] in rows
    assert " 0.0" not in shown


def test_a_long_problem_is_wrapped_and_shortened() -> None:
    status = Status(False, (), "no kernel headers for this kernel; " * 20)
    shown = text(History(at(0.0, status=status)))
    lines = [line for line in shown.splitlines() if "kernel headers" in line]
    assert len(lines) == 4
    assert lines[-1].endswith("(see hvoscope check)")


def test_failures_and_lost_events_are_shown() -> None:
    counters = counted(optimize_failures__ENOMEM=3, restore_failures__ENOMEM=1)
    status = Status(True, missed={"optimize": 5}, lost={"ring": 2}, map_errors={"operations": 1})
    shown = text(History(at(0.0, counters, status=status)))
    assert "failures      optimize ENOMEM 3   restore ENOMEM 1" in shown
    assert "missed 5   lost 2   map errors 1" in shown


def test_large_numbers_keep_their_columns() -> None:
    keys = [PageKey(order, node) for order in (9, 18) for node in range(4)]
    before, after = (
        Counters({(slot, key): number for slot in SLOTS for key in keys})
        for number in (10**11, 10**12 + 1)
    )
    history = History(at(0.0, before))
    census = Census(dict.fromkeys(keys, 10**12), {9: 7, 18: 4095})
    history.add(dataclasses.replace(at(1.0, after), census=census))
    shown = text(history)
    assert "…" not in shown.split("failures")[0]
    pool = next(line for line in shown.splitlines() if line.startswith("  2MB"))
    assert pool.split()[:2] == ["2MB", "0"]
    assert "1T" in pool and "900G" in pool


def test_more_pools_than_lines() -> None:
    pools = tuple(Pool(2 * MIB, node, "total", 23) for node in range(16))
    history = History(dataclasses.replace(at(0.0, counted()), pools=Pools(pools)))
    assert "more: enlarge the terminal, or sort" in text(history)
    assert "more: make" not in text(history, size=(80, 40))


def test_a_larger_terminal_shows_probes_calls_and_more_of_the_trend() -> None:
    simulated = Simulated("7.1").after(*STORY)
    shown = text(simulated.history, simulated.backend.info, size=(120, 40))
    assert "hugetlb_vmemmap_optimize_folios" in shown
    assert "CALLS" in shown
    assert "hugetlb_vmemmap_optimize_folios" not in text(simulated.history, simulated.backend.info)


def test_a_detached_probe_shows_its_reason_if_it_fits() -> None:
    probes = (
        ProbeStatus("optimize", True, "free_huge_page_vmemmap", "fentry"),
        ProbeStatus("batch", False, reason="the kernel has none"),
    )
    status = Status(False, probes, "batch: the kernel has none", missed={"optimize": 0})
    shown = text(History(at(0.0, status=status)), size=(120, 40))
    assert "optimize     fentry          0  free_huge_page_vmemmap" in shown
    assert "batch        no              -  the kernel has none" in shown


@pytest.mark.parametrize("size", [(1, 1), (20, 5), (60, 16), (300, 100)])
def test_any_terminal_size_works(size: tuple[int, int]) -> None:
    simulated = Simulated("7.1").after(*STORY)
    text(simulated.history, simulated.backend.info, size=size)
    status = Status(False, (), "no kernel headers for this kernel; " * 20)
    text(History(at(0.0, status=status)), size=size)


@pytest.mark.parametrize(
    ("view", "reported"),
    [
        (View(paused=True), "PAUSED"),
        (View(sort="saved", reverse=True), "sort: saved down"),
        (View(minute=True), "latency: 1 min"),
        (View(interval=0.5), "every 0.5 s"),
    ],
)
def test_the_view_is_on_the_screen(view: View, reported: str) -> None:
    assert reported in text(History(at(0.0)), view=view)


def test_pools_are_sorted_by_the_selected_column() -> None:
    simulated = Simulated().after("grow 2MB 23", "grow 1GB 1")
    for view, first in ((View(sort="saved", reverse=True), "1GB"), (View(sort="total"), "1GB")):
        shown = text(simulated.history, simulated.backend.info, view)
        pools = [
            line.split() for line in shown.splitlines() if "GB" in line[:6] or "MB" in line[:6]
        ]
        assert pools[0][0] == first


def test_only_a_real_kernel_is_labelled_linux() -> None:
    assert "Linux 6.1.0-test" in text(History(at(0.0)))
    simulated = Simulated()
    assert "Linux" not in text(simulated.history, simulated.backend.info)
    assert "REPLAY" in text(History(at(0.0)), Info("replay", "6.1", "full", 4096))


def test_a_simulation_stays_marked_when_it_is_recorded_played_and_paused() -> None:
    info = Info("replay", "v17-enabled", "simulated", 4096)
    title = text(History(at(0.0)), info, View(interval=0.25, paused=True)).splitlines()[0]
    assert title.split() == [
        *("hvoscope", "top", "REPLAY", "SIMULATED", "kernel", "v17-enabled", "PAUSED", "0:00:00")
    ]
    wider = text(History(at(0.0)), info, View(interval=0.25), size=(120, 24)).splitlines()[0]
    assert wider.endswith("every 0.25 s")


def test_sparklines() -> None:
    assert sparkline([0, 7, 14], 3) == "▁▅█"
    assert sparkline([0, 7, 14], 5) == "  ▁▅█"
    assert sparkline([5, 0, 7, 14], 3) == "▁▅█"
    assert sparkline([0, None, 14], 3) == "▁ █"
    assert sparkline([-14, 0], 2) == "▁█"
    assert sparkline([0, 0], 2) == "▁▁"
    assert sparkline([None], 3) == sparkline([1], 0) == ""
    assert sparkline([0, 7, 14], 3, ascii_only=True).isascii()


def test_sizes_of_arm64_fit() -> None:
    pools = tuple(Pool(size, 0, "total", 23) for size in (2 * MIB, 512 * MIB, 16 * GIB))
    info = Info("bcc", "6.1", "full", 64 * 1024)
    history = History(dataclasses.replace(at(0.0), pools=Pools(pools)))
    assert "512MB" in text(history, info)
    assert " 16GB" in text(history, info)

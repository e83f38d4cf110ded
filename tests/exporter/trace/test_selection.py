# SPDX-License-Identifier: Apache-2.0
from typing import Any

import pytest

from exporter.trace.selection import Selection
from probes.events import Event, Kind

EVENTS = tuple(
    Event(
        kind=kind,
        order=18 if kind == Kind.RESTORE_EXIT else 9,
        node=1 if kind == Kind.REMAP_RANGE else 0,
        pid=42,
        tgid=23 if kind == Kind.BATCH_EXIT else 42,
        comm=b"kworker/1:0" if kind == Kind.OPTIMIZE_ENTER else b"sysctl",
        ret=-12 if kind == Kind.RESTORE_EXIT else 0,
        duration_ns=5_000 * (kind == Kind.OPTIMIZE_EXIT),
    )
    for kind in Kind
)
BLOCK = b"".join(event.pack() for event in EVENTS)
PTES = {"REMAP_PTE", "RESTORE_PTE"}
ALL = {kind.name for kind in Kind}


@pytest.mark.parametrize(
    ("conditions", "selected"),
    [
        ({}, ALL),
        ({"pte": False}, ALL - PTES),
        ({"steps": ("remap_pte",), "pte": False}, {"REMAP_PTE"}),
        (
            {"steps": ("optimize", "remap_range")},
            {"OPTIMIZE_ENTER", "OPTIMIZE_EXIT", "REMAP_RANGE"},
        ),
        ({"sizes": (1 << 30,)}, {"RESTORE_EXIT"}),
        ({"sizes": (3 << 20,)}, set()),
        ({"nodes": (1,)}, {"REMAP_RANGE"}),
        ({"nodes": (0, 1)}, ALL),
        ({"pids": (23,)}, {"BATCH_EXIT"}),
        ({"pids": (42,)}, ALL),
        ({"comms": ("kworker*",)}, {"OPTIMIZE_ENTER"}),
        ({"comms": ("kworker",)}, set()),
        ({"failed": True}, {"RESTORE_EXIT"}),
        ({"min_latency_ns": 5_000}, {"OPTIMIZE_EXIT"}),
        ({"min_latency_ns": 5_001}, set()),
        ({"failed": True, "steps": ("optimize",)}, set()),
    ],
)
def test_conditions(conditions: dict[str, Any], selected: set[str]) -> None:
    found = list(Selection(**conditions).of(BLOCK, 4096))
    assert {Kind(event.kind).name for _, event in found} == selected
    assert all(EVENTS[number] == event for number, event in found)

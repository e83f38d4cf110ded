# SPDX-License-Identifier: Apache-2.0
"""The loader's last task: the baseline of what is optimized, while it still has the privilege."""

import mmap
import select
import socket
from collections.abc import Callable
from contextlib import closing

from probes.baseline import OPTIMIZED, RESTORED, Baseline
from probes.bpf.handover import Handover, send_baseline
from probes.bpf.layout import Layout
from probes.census.census import take_census
from probes.census.facts import CensusError, facts_of
from probes.census.settled import settled_baseline, wait_for_baseline
from probes.counters import Counters
from probes.observation import Absent
from probes.preflight.facts import Facts


def hand_over_baseline(sock: socket.socket, handover: Handover, facts: Facts) -> None:
    """Take the census and send it, or why there can be none; give up if the daemon has ended."""
    layout = Layout(handover.orders, handover.nodes, handover.cpus)
    size = -(-layout.size // mmap.PAGESIZE) * mmap.PAGESIZE
    counters = handover.descriptors["counters"]
    found: Baseline | Absent | None
    try:
        with closing(mmap.mmap(counters, size, mmap.MAP_SHARED, mmap.PROT_READ)) as memory:
            found = _baseline(sock, facts, lambda: _page_counts(layout, memory))
    except CensusError as error:
        found = Absent(str(error))
    if found is not None:
        try:
            send_baseline(sock, found)
        except OSError:
            return  # the daemon has ended


def _baseline(
    sock: socket.socket, facts: Facts, counters: Callable[[], Counters]
) -> Baseline | None:
    where = facts_of(facts.known_btf, facts.known_symbols)
    return wait_for_baseline(
        lambda: settled_baseline(lambda: take_census(where, mmap.PAGESIZE), counters),
        # The daemon sends nothing more: its socket is readable only if it has closed it.
        lambda seconds: not select.select([sock], [], [], seconds)[0],
    )


def _page_counts(layout: Layout, memory: mmap.mmap) -> Counters:
    with memoryview(memory) as view:
        block = layout.sum_blocks(view)
    return layout.counters(block, frozenset({OPTIMIZED, RESTORED}), frozenset())

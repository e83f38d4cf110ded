# SPDX-License-Identifier: Apache-2.0
"""The Fleet dashboard: all machines at once, and which of them need looking at."""

from collections.abc import Iterator

from dashboards.boards import columns
from dashboards.boards.panels import (
    FLEET,
    HOST,
    KERNEL,
    Panel,
    Query,
    Text,
    bad_from,
    bars,
    graph,
    number,
    rows,
)
from dashboards.boards.variables import HOSTS, PAGES, SIZES

TITLE = "HVO / Fleet"
UID = FLEET
DESCRIPTION = (
    "HugeTLB Vmemmap Optimisation over all machines: what it saves together, where it is off or "
    "failing, which kernels do it, and which machines are slow."
)
VARIABLES = ("job", "instance", "size", "node")

_RATE = "$__rate_interval"
_TO_HOST = (
    f"/d/{HOST}/{HOST}?${{datasource:queryparam}}&var-instance=${{__data.fields.instance}}"
    "&${__url_time_range}"
)


def sections() -> Iterator[tuple[str, list[Panel]]]:
    """Rows of panels, top to bottom."""
    yield "The fleet now", list(_now())
    yield "Saved", list(_saved())
    yield "Which machines need looking at", list(_machines())
    yield "Mix and speed", list(_mix())


def _now() -> Iterator[Panel]:
    yield number(
        Text(
            "Memory saved",
            "Memory that HVO has given back on all machines, from the kernels' own accounts (Linux "
            "6.11 and later; machines with older kernels are not in it).",
            "bytes",
            HOST,
        ),
        Query(f"sum(hvo_memmap_saved_bytes{{{HOSTS}}})", "saved"),
        absent="no kernel from 6.11 on",
    )
    yield number(
        Text("Machines that answer", "Exporters that Prometheus can scrape.", "short", HOST),
        Query(f"count(hvo_build_info{{{HOSTS}}})", "machines"),
        sparkline=False,
    )
    yield number(
        Text(
            "HVO off",
            "Machines whose switch is off. Huge pages that they allocate meanwhile keep all their "
            "memory until they are allocated anew.",
            "short",
            HOST,
        ),
        Query(f"count(hvo_enabled{{{HOSTS}}}) - sum(hvo_enabled{{{HOSTS}}})", "off"),
        thresholds=bad_from(1, "orange"),
        sparkline=False,
    )
    yield number(
        Text(
            "Machines that fail",
            "Machines on which an optimisation or a restore failed in the time shown.",
            "short",
            HOST,
        ),
        Query(
            "sum((sum by (job, instance) "
            f"(increase(hvo_optimize_failures_total{{{PAGES}}}[$__range]))"
            " + sum by (job, instance) "
            f"(increase(hvo_restore_failures_total{{{PAGES}}}[$__range]))) > bool 0)",
            "failing",
        ),
        thresholds=bad_from(1),
        sparkline=False,
    )
    yield number(
        Text(
            "Blind machines",
            "Machines with at least one probe detached: their counts are not complete.",
            "short",
            HOST,
        ),
        Query(
            f"sum(min by (job, instance) (hvo_probe_attached{{{HOSTS}}}) == bool 0)",
            "blind",
        ),
        thresholds=bad_from(1),
        sparkline=False,
    )
    yield number(
        Text(
            "Exporters down",
            "Targets of the jobs shown that Prometheus can't scrape.",
            "short",
            HOST,
        ),
        Query(f"sum(up{{{HOSTS}}} == bool 0)", "down"),
        thresholds=bad_from(1),
        sparkline=False,
    )


def _saved() -> Iterator[Panel]:
    yield graph(
        Text(
            "Memory saved over time",
            "Memory given back by machine, stacked: the top edge is the fleet's.",
            "bytes",
            HOST,
        ),
        Query(f"sum by (instance) (hvo_memmap_saved_bytes{{{HOSTS}}})", "{{instance}}"),
        width=16,
        stacked=True,
    )
    yield bars(
        Text(
            "Top savers",
            "The ten machines that save most, now.",
            "bytes",
            HOST,
        ),
        Query(
            f"topk(10, sum by (instance) (hvo_memmap_saved_bytes{{{HOSTS}}}))",
            "{{instance}}",
        ),
    )


def _machines() -> Iterator[Panel]:
    yield rows(
        Text(
            "Machines",
            "One line a machine: kernel, exporter, switch, memory saved, and what failed in the "
            "time shown. Empty cells are what a kernel does not show. A click on a name "
            "opens the Host dashboard.",
            "string",
            HOST,
        ),
        Query(f"max by (instance, kernel) (hvo_backend_info{{{HOSTS}}})", ""),
        Query(f"max by (instance) (hvo_enabled{{{HOSTS}}})", ""),
        Query(f"sum by (instance) (hvo_memmap_saved_bytes{{{HOSTS}}})", ""),
        Query(
            f"sum by (instance) (increase(hvo_optimize_failures_total{{{PAGES}}}[$__range]))", ""
        ),
        Query(f"sum by (instance) (increase(hvo_restore_failures_total{{{PAGES}}}[$__range]))", ""),
        Query(f"min by (instance) (hvo_probe_attached{{{HOSTS}}})", ""),
        Query(f"max by (instance) (abs(hvo_accounting_drift_frames{{{HOSTS}}}))", ""),
        Query(f"max by (instance) (up{{{HOSTS}}})", ""),
        transformations=columns.only(
            "instance",
            "kernel",
            Value_H="exporter",
            Value_B="HVO",
            Value_C="saved",
            Value_D="optimise failures",
            Value_E="restore failures",
            Value_F="probes",
            Value_G="drift",
        ),
        worst="exporter",
        overrides={
            "instance": columns.linked("Host dashboard", _TO_HOST),
            "exporter": columns.yes_or_no("up", "DOWN", bad="red"),
            "HVO": columns.yes_or_no("on", "off", bad="orange"),
            "saved": columns.plain("bytes"),
            "optimise failures": columns.bad_above_zero("orange"),
            "restore failures": columns.bad_above_zero("red"),
            "probes": columns.yes_or_no("all attached", "DETACHED", bad="red"),
            "drift": columns.bad_above_zero("red"),
        },
    )


def _mix() -> Iterator[Panel]:
    yield bars(
        Text(
            "Kernels",
            "Machines by kernel: its release, or the simulated generation.",
            "short",
            HOST,
        ),
        Query(f"count by (kernel) (hvo_backend_info{{{HOSTS}}})", "{{kernel}}"),
    )
    yield bars(
        Text(
            "Kernel functions probed",
            "Machines by the function that optimises a huge page: which generation of HVO they "
            "have, whatever the release is called.",
            "short",
            KERNEL,
        ),
        Query(
            f'count by (symbol) (hvo_probe_attached{{{HOSTS}, step="optimize"}})',
            "{{symbol}}",
        ),
    )
    yield bars(
        Text(
            "Slowest machines",
            "The ten machines with the largest p99 of the time to optimise a huge page, over the "
            "last few scrapes with any.",
            "s",
            KERNEL,
        ),
        Query(
            "topk(10, histogram_quantile(0.99, sum by (instance, le) "
            f"(increase(hvo_optimize_duration_seconds_bucket{{{SIZES}}}[$__range]))))",
            "{{instance}}",
        ),
    )
    yield graph(
        Text(
            "Huge pages optimised, by machine",
            "Huge pages per second whose vmemmap was remapped.",
            "ops",
            KERNEL,
        ),
        Query(
            f"sum by (instance) (rate(hvo_hugepages_optimized_total{{{PAGES}}}[{_RATE}]))",
            "{{instance}}",
        ),
    )
    yield graph(
        Text(
            "Failures, by machine",
            "Huge pages per second that could not be optimised or restored.",
            "ops",
            KERNEL,
        ),
        Query(
            f"sum by (instance) (rate(hvo_optimize_failures_total{{{PAGES}}}[{_RATE}]))",
            "{{instance}}: optimise",
        ),
        Query(
            f"sum by (instance) (rate(hvo_restore_failures_total{{{PAGES}}}[{_RATE}]))",
            "{{instance}}: restore",
        ),
        zero_is_right=True,
    )

# SPDX-License-Identifier: Apache-2.0
"""The Fleet dashboard: all machines at once, with those that need attention."""

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
    "HugeTLB Vmemmap Optimization of all machines: memory saved, machines with HVO off or with "
    "failures, kernels, and the slowest machines."
)
VARIABLES = ("job", "instance", "size", "numa_node")

_RATE = "$__rate_interval"
_TO_HOST = (
    f"/d/{HOST}/{HOST}?${{datasource:queryparam}}&var-instance=${{__data.fields.instance}}"
    "&${__url_time_range}"
)


def sections() -> Iterator[tuple[str, list[Panel]]]:
    """Rows of panels, top to bottom."""
    yield "Overview", list(_now())
    yield "Memory", list(_saved())
    yield "Machine status", list(_machines())
    yield "Kernels and latency", list(_mix())


def _now() -> Iterator[Panel]:
    yield number(
        Text(
            "Memory saved",
            "Memory saved by HVO on all machines, from the kernels' own accounting (Linux 6.11 and "
            "later; machines with older kernels are not included).",
            "bytes",
            HOST,
        ),
        Query(f"sum(hvo_memmap_saved_bytes{{{HOSTS}}})", "saved"),
        absent="no kernel >= 6.11",
    )
    yield number(
        Text("Exporters up", "Exporters that Prometheus can scrape.", "short", HOST),
        Query(f"count(hvo_build_info{{{HOSTS}}})", "machines"),
        sparkline=False,
    )
    yield number(
        Text(
            "Machines with HVO off",
            "Machines with HVO switched off. Huge pages allocated while it is off save no memory "
            "until they are freed and allocated again.",
            "short",
            HOST,
        ),
        Query(f"count(hvo_enabled{{{HOSTS}}}) - sum(hvo_enabled{{{HOSTS}}})", "off"),
        thresholds=bad_from(1, "orange"),
        sparkline=False,
    )
    yield number(
        Text(
            "Machines with failures",
            "Machines on which an optimization or a restore failed in the selected time range.",
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
            "Machines with detached probes",
            "Machines with at least one detached probe: their counts are incomplete.",
            "short",
            HOST,
        ),
        Query(
            f"sum(min by (job, instance) (hvo_probe_attached{{{HOSTS}}}) == bool 0)",
            "detached",
        ),
        thresholds=bad_from(1),
        sparkline=False,
    )
    yield number(
        Text(
            "Exporters down",
            "Targets of the selected jobs that Prometheus can't scrape.",
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
            "Memory saved by machine, stacked; the top edge is the fleet's total.",
            "bytes",
            HOST,
        ),
        Query(f"sum by (instance) (hvo_memmap_saved_bytes{{{HOSTS}}})", "{{instance}}"),
        width=16,
        stacked=True,
    )
    yield bars(
        Text(
            "Top 10 by memory saved",
            "The ten machines that currently save most memory.",
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
            "Kernel, exporter, HVO switch and memory saved by machine, with failures in the "
            "selected time range. Empty cells: not provided by the kernel. The instance links to "
            "the Host dashboard.",
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
            Value_D="optimize failures",
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
            "optimize failures": columns.bad_above_zero("orange"),
            "restore failures": columns.bad_above_zero("red"),
            "probes": columns.yes_or_no("all attached", "DETACHED", bad="red"),
            "drift": columns.bad_above_zero("red"),
        },
    )


def _mix() -> Iterator[Panel]:
    yield bars(
        Text(
            "Machines by kernel",
            "Machines by kernel release, or by simulated generation.",
            "short",
            HOST,
        ),
        Query(f"count by (kernel) (hvo_backend_info{{{HOSTS}}})", "{{kernel}}"),
    )
    yield bars(
        Text(
            "Machines by probed function",
            "Machines by the function that optimizes a huge page, which tells the generation of "
            "HVO whatever the release.",
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
            "Top 10 by optimize latency",
            "The ten machines with the highest 99th percentile of the time to optimize a huge "
            "page, over the selected time range.",
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
            "Huge pages optimized by machine",
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
            "Failures by machine",
            "Huge pages per second that failed to be optimized or restored.",
            "ops",
            KERNEL,
        ),
        Query(
            f"sum by (instance) (rate(hvo_optimize_failures_total{{{PAGES}}}[{_RATE}]))",
            "{{instance}}: optimize",
        ),
        Query(
            f"sum by (instance) (rate(hvo_restore_failures_total{{{PAGES}}}[{_RATE}]))",
            "{{instance}}: restore",
        ),
        expects_zero=True,
    )

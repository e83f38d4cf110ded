# SPDX-License-Identifier: Apache-2.0
"""The Fleet dashboard: all hosts at once, from recorded series, those with alerts first."""

from collections.abc import Iterator

from dashboards.boards import columns
from dashboards.boards.annotations import of_jobs
from dashboards.boards.panels import (
    FLEET,
    HOST,
    KERNEL,
    PAGES_S,
    Panel,
    Query,
    Text,
    bad_from,
    bars,
    good_from,
    graph,
    number,
    rows,
)
from dashboards.boards.variables import JOBS

TITLE = "HVO / Fleet"
UID = FLEET
DESCRIPTION = (
    "HugeTLB Vmemmap Optimization of all hosts: memory saved of what is possible, hosts with "
    "alerts, kernels, and the slowest hosts. Needs the recording rules."
)
VARIABLES = ("job", "cluster")
ONE = ""
DETAILS = ()
annotations = of_jobs

LISTED = 30
"""Hosts in the table."""

_HOST = "cluster, job, instance"
_SAVED = f"sum(job:hvo_saved:ratio{{{JOBS}}} * job:hvo_possible_bytes:sum{{{JOBS}}})"
"""Memory saved by hosts of which it is known what they could save."""
_WORST = f"topk({LISTED}, instance:hvo_alerts:weight{{{JOBS}}})"
_TO_HOST = (
    f"/d/{HOST}/{HOST}?${{datasource:queryparam}}&var-job=${{__data.fields.job}}"
    "&var-cluster=${__data.fields.cluster}&var-instance=${__data.fields.instance}"
    "&${__url_time_range}"
)


def sections() -> Iterator[tuple[str, list[Panel]]]:
    """Rows of panels, top to bottom."""
    yield "Overview", list(_now())
    yield "Hosts with alerts first", list(_hosts())
    yield "Memory", list(_saved())
    yield "Kernels and latency", list(_mix())


def _sum(series: str) -> str:
    return f"sum({series}{{{JOBS}}})"


def _now() -> Iterator[Panel]:
    yield number(
        Text("Hosts with alerts", "Hosts with at least one firing alert.", "none", HOST),
        Query(f"{_sum('job:hvo_alerts:count')} or 0 * {_sum('job:hvo_up:count')}", "hosts"),
        thresholds=bad_from(1, "orange"),
        sparkline=False,
        width=6,
    )
    yield number(
        Text(
            "Memory saved",
            "Memory saved by HVO on all hosts: from the census, or else from the kernel's own "
            "accounting (Linux 6.11 and later).",
            "bytes",
            HOST,
        ),
        Query(_sum("job:hvo_saved_bytes:sum"), "saved"),
        absent="not known",
        width=6,
    )
    yield number(
        Text(
            "Saved of possible",
            "Share of the memory that the huge pages of all hosts with a census could save.",
            "percentunit",
            HOST,
        ),
        Query(
            f"{_SAVED} / {_sum('job:hvo_possible_bytes:sum')}",
            "saved",
        ),
        thresholds=good_from(0.9),
        absent="not known",
        sparkline=False,
        width=6,
    )
    yield number(
        Text("Exporters up", "Exporters that Prometheus can scrape.", "none", HOST),
        Query(_sum("job:hvo_up:sum"), "up"),
        sparkline=False,
        width=6,
    )
    yield number(
        Text("Exporters down", "hvoscope's targets that Prometheus can't scrape.", "none", HOST),
        Query(f"{_sum('job:hvo_up:count')} - {_sum('job:hvo_up:sum')}", "down"),
        thresholds=bad_from(1, "orange"),
        sparkline=False,
        width=6,
    )
    yield number(
        Text(
            "Hosts with HVO off",
            "Huge pages allocated while it is off save no memory until they are allocated again.",
            "none",
            HOST,
        ),
        Query(f"{_sum('job:hvo_enabled:count')} - {_sum('job:hvo_enabled:sum')}", "off"),
        thresholds=bad_from(1, "orange"),
        sparkline=False,
        width=6,
    )
    yield number(
        Text("Hosts not listed", "Hosts that the table leaves out.", "none", HOST),
        Query(f"clamp_min({_sum('job:hvo_up:count')} - {LISTED}, 0)", "hosts"),
        sparkline=False,
        width=6,
    )
    yield number(
        Text("Not listed, with alerts", "Of these, hosts with alerts.", "none", HOST),
        Query(
            f"clamp_min({_sum('job:hvo_alerts:count')} - {LISTED}, 0)"
            f" or 0 * {_sum('job:hvo_up:count')}",
            "hosts",
        ),
        thresholds=bad_from(1, "orange"),
        sparkline=False,
        width=6,
    )


def _of_worst(how: str, series: str, *, ignoring: str = "", more: str = "") -> Query:
    """Return a column of the table: ``series`` of the listed hosts."""
    match = f" ignoring ({ignoring})" if ignoring else ""
    return Query(f"{how} by ({_HOST}{more}) ({series}{{{JOBS}}} and{match} {_WORST})", "")


def _hosts() -> Iterator[Panel]:
    yield rows(
        Text(
            "Hosts",
            f"The {LISTED} hosts with the most and gravest firing alerts: 100 for each critical "
            "one, 10 for a warning, 1 for information. Failures are those of the last hour. Empty "
            "cells: not known. The instance links to the Host dashboard.",
            "string",
            HOST,
        ),
        Query(f"max by ({_HOST}) ({_WORST})", ""),
        _of_worst("max", "instance:hvo_up:max"),
        _of_worst("max", "hvo_enabled"),
        _of_worst("max", "instance:hvo_saved_bytes:sum"),
        _of_worst("max", "instance:hvo_possible_bytes:sum"),
        _of_worst("max", "instance:hvo_optimize_failures:increase1h"),
        _of_worst("max", "instance:hvo_restore_failures:increase1h"),
        _of_worst("max", "hvo_backend_info", ignoring="backend, kernel, mode", more=", kernel"),
        height=12,
        transformations=columns.only(
            "cluster",
            "job",
            "instance",
            Value_A="weight",
            Value_B="exporter",
            Value_C="HVO",
            Value_D="saved",
            Value_E="possible",
            Value_F="opt. failed",
            Value_G="rest. failed",
            kernel="kernel",
        ),
        worst="weight",
        most=True,
        overrides={
            "cluster": columns.wide(68),
            "job": columns.wide(124),
            "instance": [*columns.linked("Host dashboard", _TO_HOST), *columns.wide(150)],
            "weight": [*columns.bad_above_zero("orange"), *columns.wide(76)],
            "exporter": [*columns.yes_or_no("up", "DOWN", bad="red"), *columns.wide(80)],
            "HVO": [*columns.yes_or_no("on", "off", bad="orange"), *columns.wide(56)],
            "saved": [*columns.plain("bytes", decimals=0), *columns.wide(75)],
            "possible": [*columns.plain("bytes", decimals=0), *columns.wide(80)],
            "opt. failed": [*columns.bad_above_zero("orange"), *columns.wide(92)],
            "rest. failed": [*columns.bad_above_zero("red"), *columns.wide(96)],
        },
    )
    yield graph(
        Text("Firing alerts", "Firing alerts by name.", "none", HOST),
        Query(f"sum by (alertname) (job_alertname:hvo_alerts:count{{{JOBS}}})", "{{alertname}}"),
        width=24,
        values=False,
        none="none",
    )


def _saved() -> Iterator[Panel]:
    yield graph(
        Text(
            "Memory saved and possible",
            "Memory saved, and what all huge pages could save, of hosts with a census.",
            "bytes",
            HOST,
        ),
        Query(_SAVED, "saved"),
        Query(_sum("job:hvo_possible_bytes:sum"), "possible"),
        width=8,
    )
    yield bars(
        Text("Top 10 by memory saved", "The hosts that save most memory.", "bytes", HOST),
        Query(
            f"sort_desc(topk(10, instance:hvo_saved_bytes:sum{{{JOBS}}}))",
            "{{cluster}} {{instance}}",
        ),
    )
    yield bars(
        Text(
            "Top 10 by memory not saved",
            "The hosts whose huge pages could save most beyond what they save.",
            "bytes",
            HOST,
        ),
        Query(
            f"sort_desc(topk(10, instance:hvo_possible_bytes:sum{{{JOBS}}}"
            f" - instance:hvo_saved_bytes:sum{{{JOBS}}} > 0))",
            "{{cluster}} {{instance}}",
        ),
    )


def _mix() -> Iterator[Panel]:
    yield bars(
        Text("Hosts by kernel", "Hosts by kernel release, the ten commonest.", "none", HOST),
        Query(
            f"sort_desc(topk(10, sum by (kernel) (job_kernel:hvo_backend_info:count{{{JOBS}}})))",
            "{{kernel}}",
        ),
    )
    yield bars(
        Text(
            "Hosts by probed function",
            "Hosts by the function that optimizes a huge page, which tells the generation of HVO "
            "whatever the release.",
            "none",
            KERNEL,
        ),
        Query(
            f"sort_desc(sum by (symbol) (job_symbol:hvo_probe_attached:sum{{{JOBS}}}))",
            "{{symbol}}",
        ),
    )
    yield bars(
        Text(
            "Top 10 by optimize latency",
            "The highest mean times to optimize a huge page, of the last 15 minutes.",
            "s",
            KERNEL,
        ),
        Query(
            f"sort_desc(topk(10, instance_size:hvo_optimize_duration_seconds:mean15m{{{JOBS}}}))",
            "{{cluster}} {{instance}} {{size}}",
        ),
    )
    yield graph(
        Text(
            "Huge pages optimized and restored",
            "Huge pages per second of all hosts whose vmemmap was remapped, or restored.",
            PAGES_S,
            KERNEL,
        ),
        Query(_sum("job:hvo_hugepages_optimized:rate5m"), "optimized"),
        Query(_sum("job:hvo_hugepages_restored:rate5m"), "restored"),
    )
    yield graph(
        Text(
            "Failures in the last hour",
            "Huge pages of all hosts that failed to be optimized or restored within an hour.",
            "none",
            KERNEL,
        ),
        Query(f"{_sum('job:hvo_optimize_failures:increase1h')} > 0", "optimize"),
        Query(f"{_sum('job:hvo_restore_failures:increase1h')} > 0", "restore"),
        none="none",
    )

# SPDX-License-Identifier: Apache-2.0
"""Data quality of a machine: drift, census, probes, checks, and what was missed."""

from collections.abc import Iterator

from dashboards.boards import columns
from dashboards.boards.panels import (
    KERNEL,
    RECORDS_S,
    Panel,
    Query,
    Text,
    graph,
    rows,
)
from dashboards.boards.variables import HOSTS

_RATE = "$__rate_interval"


def data_quality() -> Iterator[Panel]:
    """Panels, top to bottom."""
    yield graph(
        Text(
            "Accounting drift over time",
            "Net frames freed as counted by the probes, less the decrease of nr_memmap_pages and "
            "nr_memmap_boot_pages; expected: constantly 0. Memory hotplug changes it, too.",
            "short",
            KERNEL,
        ),
        Query(f"hvo_accounting_drift_frames{{{HOSTS}}}", "{{instance}}"),
    )
    yield graph(
        Text(
            "Time since the census",
            "Time since the last census of optimized huge pages, from which the probes have kept "
            "the count. Not provided by simulated kernels.",
            "s",
            KERNEL,
        ),
        Query(f"time() - hvo_census_timestamp_seconds{{{HOSTS}}}", "{{instance}}"),
        none="none",
    )
    yield graph(
        Text(
            "Memmap frames",
            "Page frames that hold struct pages, by allocator: nr_memmap_boot_pages and "
            "nr_memmap_pages (Linux 6.11 and later).",
            "short",
            KERNEL,
        ),
        Query(f"sum by (instance, kind) (hvo_memmap_pages{{{HOSTS}}})", "{{instance}} {{kind}}"),
    )
    yield rows(
        Text(
            "Probes",
            "Kernel function and attach type of each step. `hvoscope check` reports why a probe "
            "is detached.",
            "string",
            KERNEL,
        ),
        Query(f"hvo_probe_attached{{{HOSTS}}}", ""),
        width=12,
        transformations=columns.only("instance", "step", "symbol", "attach", Value="attached"),
        overrides={
            "instance": columns.wide(150),
            "step": columns.wide(110),
            "attach": columns.wide(90),
            "attached": [*columns.yes_or_no("yes", "DETACHED", bad="red"), *columns.wide(95)],
        },
        worst="attached",
    )
    yield rows(
        Text(
            "Failed checks",
            "Checks that found a problem at the exporter's start; `hvoscope check` has the fix. "
            "Not provided by simulated kernels.",
            "string",
            KERNEL,
        ),
        Query(f"hvo_check_result{{{HOSTS}}} == 0", ""),
        Query(f"hvo_supported{{{HOSTS}}}", ""),
        width=12,
        transformations=columns.only("instance", "check", Value_B="HVO possible"),
        overrides={"HVO possible": columns.yes_or_no("yes", "no", bad="orange")},
        worst="HVO possible",
        none="none",
    )
    yield graph(
        Text(
            "Missed hits, lost events, map errors",
            "Per second: probe hits that the kernel dropped, event records lost, operations not "
            "counted because a BPF map was full. Above 0, counts are too low.",
            RECORDS_S,
            KERNEL,
        ),
        Query(
            f"sum by (step) (rate(hvo_probe_missed_total{{{HOSTS}}}[{_RATE}])) > 0",
            "missed: {{step}}",
        ),
        Query(
            f"sum by (where) (rate(hvo_events_lost_total{{{HOSTS}}}[{_RATE}])) > 0",
            "lost: {{where}}",
        ),
        Query(
            f"sum by (map) (rate(hvo_map_errors_total{{{HOSTS}}}[{_RATE}])) > 0", "full: {{map}}"
        ),
        none="none",
    )

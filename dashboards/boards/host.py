# SPDX-License-Identifier: Apache-2.0
"""The Host dashboard: memory saved, activity, latency, pools and data quality of a machine."""

from collections.abc import Iterator

from grafana_foundation_sdk.models.dashboard import ValueMappingResult

from dashboards.boards.annotations import of_hosts
from dashboards.boards.host_quality import data_quality
from dashboards.boards.panels import (
    FLEET,
    FRAMES_S,
    GOOD_AT_ZERO,
    HOST,
    KERNEL,
    PAGES_S,
    PTES_S,
    Panel,
    Query,
    Text,
    bad_from,
    good_from,
    graph,
    latency_map,
    number,
)
from dashboards.boards.variables import HOSTS, PAGES, SIZES

TITLE = "HVO / Host"
UID = HOST
DESCRIPTION = (
    "HugeTLB Vmemmap Optimization of one host: memory saved, kernel activity, latency, "
    "pools and data quality."
)
VARIABLES = ("job", "cluster", "instance", "size", "numa_node")
ONE = "instance"
DETAILS = ("Latency", "Pools", "Data quality")
annotations = of_hosts

_RATE = "$__rate_interval"


def sections() -> Iterator[tuple[str, list[Panel]]]:
    """Rows of panels, top to bottom."""
    yield "Overview", list(_now())
    yield "Memory", list(_memory())
    yield "Activity", list(_activity())
    yield "Latency", list(_latency())
    yield "Pools", list(_pools())
    yield "Data quality", list(data_quality())


def _now() -> Iterator[Panel]:
    yield number(
        Text(
            "Firing alerts",
            "Alerts of this host that fire now; the row below has their names.",
            "none",
            FLEET,
        ),
        Query(
            f'count(ALERTS{{{HOSTS}, alertname=~"Hvo.+", alertstate="firing"}})'
            f" or 0 * count(instance:hvo_up:max{{{HOSTS}}})",
            "alerts",
        ),
        thresholds=bad_from(1, "orange"),
        sparkline=False,
        width=6,
    )
    yield number(
        Text(
            "Memory saved",
            "Memory saved by HVO, including huge pages optimized at boot: from the census, or else "
            "from the kernel's own accounting (Linux 6.11 and later).",
            "bytes",
            FLEET,
        ),
        Query(
            f"sum(sum without (size, numa_node) (hvo_saved_bytes{{{HOSTS}}})"
            f" or hvo_memmap_saved_bytes{{{HOSTS}}})",
            "saved",
        ),
        absent="not known",
        sparkline=False,
        width=6,
    )
    yield number(
        Text(
            "Saved of possible",
            "Share of the memory that the huge pages of the pools could save. Below 90 % for an "
            "hour raises an alert.",
            "percentunit",
            FLEET,
        ),
        Query(
            f"sum(hvo_saved_bytes{{{PAGES}}}) / (sum(hvo_possible_bytes{{{PAGES}}}) > 0)", "saved"
        ),
        thresholds=good_from(0.9),
        absent="not known",
        sparkline=False,
        width=6,
    )
    yield number(
        Text(
            "HVO switch",
            "vm.hugetlb_optimize_vmemmap; off if it is off on any selected machine. Kernels before "
            "5.19 have no switch to read.",
            "none",
            FLEET,
        ),
        Query(f"min(hvo_enabled{{{HOSTS}}})", "switch"),
        thresholds=good_from(1),
        words={
            "0": ValueMappingResult(text="off", color="orange"),
            "1": ValueMappingResult(text="on", color="green"),
        },
        absent="no switch",
        sparkline=False,
        width=6,
    )
    yield number(
        Text(
            "Optimize failures",
            "Huge pages that the kernel failed to optimize in the selected time range; they save "
            "no memory. ENOMEM: no memory for a page table or a new head page.",
            "short",
            KERNEL,
        ),
        Query(f"sum(increase(hvo_optimize_failures_total{{{PAGES}}}[$__range]))", "failures"),
        thresholds=bad_from(0.5, "orange"),
        sparkline=False,
        width=6,
    )
    yield number(
        Text(
            "Restore failures",
            "Huge pages that could not be freed in the selected time range, because restoring "
            "their struct pages needs memory; they stay in the pool as surplus.",
            "short",
            KERNEL,
        ),
        Query(f"sum(increase(hvo_restore_failures_total{{{PAGES}}}[$__range]))", "failures"),
        thresholds=bad_from(0.5),
        sparkline=False,
        width=6,
    )
    yield number(
        Text(
            "Detached probes",
            "Steps without an attached probe: their counts are missing. `hvoscope check` on the "
            "host reports the reason.",
            "short",
            KERNEL,
        ),
        Query(
            f"count(hvo_probe_attached{{{HOSTS}}}) - sum(hvo_probe_attached{{{HOSTS}}})", "detached"
        ),
        thresholds=bad_from(1),
        sparkline=False,
        width=6,
    )
    yield number(
        Text(
            "Accounting drift",
            "Frames counted by the probes less those by the kernel's own accounting; 0 means that "
            "they agree.",
            "short",
            KERNEL,
        ),
        Query(f"sum(hvo_accounting_drift_frames{{{HOSTS}}})", "drift"),
        thresholds=GOOD_AT_ZERO,
        absent="not known",
        sparkline=False,
        width=6,
    )


def _memory() -> Iterator[Panel]:
    yield graph(
        Text(
            "Alerts",
            "Alerts of this host, 1 while one fires.",
            "none",
            FLEET,
        ),
        Query(
            f'max by (alertname) (ALERTS{{{HOSTS}, alertname=~"Hvo.+", alertstate="firing"}})',
            "{{alertname}}",
        ),
        values=False,
        none="none",
    )
    yield graph(
        Text(
            "Memory saved over time",
            "Memory saved by machine, from the kernel's own accounting (Linux 6.11 and later).",
            "bytes",
            FLEET,
        ),
        Query(f"sum by (instance) (hvo_memmap_saved_bytes{{{HOSTS}}})", "{{instance}}"),
        stacked=True,
    )
    yield graph(
        Text(
            "Saved and possible",
            "Memory that HVO saves by size and node on any kernel, and what it would save if every "
            "huge page of the pools were optimized.",
            "bytes",
            KERNEL,
        ),
        Query(f"hvo_saved_bytes{{{PAGES}}}", "saved {{size}} on {{numa_node}}"),
        Query(f"hvo_possible_bytes{{{PAGES}}}", "possible {{size}} on {{numa_node}}"),
    )
    yield graph(
        Text(
            "Huge pages optimized now",
            "Huge pages whose vmemmap is optimized, those allocated at boot included.",
            "short",
            KERNEL,
        ),
        Query(f"hvo_optimized_hugepages{{{PAGES}}}", "{{size}} on {{numa_node}}"),
        sizes=True,
    )
    yield graph(
        Text(
            "Net frames saved since attach",
            "Page frames freed less frames allocated, by size and node, as counted by the probes "
            "on any kernel. Below 0 if pages optimized before attach are restored. A frame is "
            "4 KiB on x86-64.",
            "short",
            KERNEL,
        ),
        Query(
            f"sum by (size, numa_node) (hvo_frames_freed_total{{{PAGES}}})"
            f" - sum by (size, numa_node) (hvo_frames_allocated_total{{{PAGES}}})",
            "{{size}} on node {{numa_node}}",
        ),
    )


def _activity() -> Iterator[Panel]:
    yield graph(
        Text(
            "Huge pages optimized and restored",
            "Huge pages per second whose vmemmap was remapped to a shared frame, or restored.",
            PAGES_S,
            KERNEL,
        ),
        Query(
            f"sum by (size) (rate(hvo_hugepages_optimized_total{{{PAGES}}}[{_RATE}]))",
            "optimized {{size}}",
        ),
        Query(
            f"sum by (size) (rate(hvo_hugepages_restored_total{{{PAGES}}}[{_RATE}]))",
            "restored {{size}}",
        ),
        sizes=True,
    )
    yield graph(
        Text(
            "Skips and failures",
            "Huge pages per second that were not changed: skipped, by reason (HVO is off, "
            "unsupported size, nothing to do), or failed, by errno.",
            PAGES_S,
            KERNEL,
        ),
        Query(
            f"sum by (reason) (rate(hvo_hugepages_skipped_total{{{PAGES}}}[{_RATE}])) > 0",
            "skipped: {{reason}}",
        ),
        Query(
            f"sum by (error) (rate(hvo_optimize_failures_total{{{PAGES}}}[{_RATE}])) > 0",
            "optimize: {{error}}",
        ),
        Query(
            f"sum by (error) (rate(hvo_restore_failures_total{{{PAGES}}}[{_RATE}])) > 0",
            "restore: {{error}}",
        ),
        none="none",
    )
    yield graph(
        Text(
            "PTEs remapped and restored",
            "Vmemmap PTEs per second remapped to a shared frame, or restored.",
            PTES_S,
            KERNEL,
        ),
        Query(
            f"sum by (size) (rate(hvo_ptes_remapped_total{{{PAGES}}}[{_RATE}]))",
            "remapped {{size}}",
        ),
        Query(
            f"sum by (size) (rate(hvo_ptes_restored_total{{{PAGES}}}[{_RATE}]))",
            "restored {{size}}",
        ),
        sizes=True,
    )
    yield graph(
        Text(
            "Frames freed and allocated",
            "Page frames per second freed, and allocated by cause: a new head page (Linux 6.2 and "
            "later), or restore.",
            FRAMES_S,
            KERNEL,
        ),
        Query(
            f"sum by (size) (rate(hvo_frames_freed_total{{{PAGES}}}[{_RATE}]))", "freed {{size}}"
        ),
        Query(
            f"sum by (size, cause) (rate(hvo_frames_allocated_total{{{PAGES}}}[{_RATE}]))",
            "allocated {{size}}, {{cause}}",
        ),
        sizes=True,
    )


def _latency() -> Iterator[Panel]:
    for operation in ("optimize", "restore"):
        metric = f"hvo_{operation}_duration_seconds"
        yield latency_map(
            Text(
                f"{operation.capitalize()} latency",
                f"Distribution of the time to {operation} a huge page, without calls that had "
                "nothing to do.",
                "s",
                KERNEL,
            ),
            Query(f"sum by (le) (increase({metric}_bucket{{{SIZES}}}[{_RATE}]))", "{{le}}"),
        )
        yield graph(
            Text(
                f"{operation.capitalize()} latency quantiles",
                f"Median and 99th percentile of the time to {operation} a huge page, estimated "
                "from buckets at 1, 2 and 5.",
                "s",
                KERNEL,
            ),
            *(
                Query(
                    f"histogram_quantile({quantile}, "
                    f"sum by (size, le) (rate({metric}_bucket{{{SIZES}}}[{_RATE}])))",
                    f"p{name} {{{{size}}}}",
                )
                for quantile, name in ((0.5, 50), (0.99, 99))
            ),
        )


def _pools() -> Iterator[Panel]:
    yield graph(
        Text(
            "Huge page pools",
            "Huge pages by size and state: total, free, reserved, and surplus (above "
            "nr_hugepages).",
            "short",
            KERNEL,
        ),
        Query(f"sum by (size) (hvo_pool_hugepages{{{PAGES}}})", "{{size}} total"),
        Query(f"sum by (size) (hvo_pool_free_hugepages{{{PAGES}}})", "{{size}} free"),
        Query(f"sum by (size) (hvo_pool_surplus_hugepages{{{PAGES}}})", "{{size}} surplus"),
        Query(f"sum by (size) (hvo_pool_reserved_hugepages{{{SIZES}}})", "{{size}} reserved"),
        sizes=True,
    )
    yield graph(
        Text(
            "Surplus huge pages and limit",
            "Surplus huge pages by size, and their limit, nr_overcommit_hugepages. Surplus above "
            "the limit is left by failed restores.",
            "short",
            KERNEL,
        ),
        Query(f"sum by (size) (hvo_pool_surplus_hugepages{{{PAGES}}})", "surplus {{size}}"),
        Query(
            f"sum by (size) (hvo_pool_overcommit_hugepages{{{SIZES}}})",
            "limit {{size}}",
        ),
        sizes=True,
    )

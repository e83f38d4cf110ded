# SPDX-License-Identifier: Apache-2.0
"""The Kernel developer dashboard: calls, PTEs, frames, latency, batches, and exporter cost."""

from collections.abc import Iterator

from dashboards.boards.annotations import of_hosts
from dashboards.boards.panels import (
    FLEET,
    FRAMES_S,
    HOST,
    KERNEL,
    PAGES_S,
    PTES_S,
    RECORDS_S,
    Panel,
    Query,
    Text,
    graph,
)
from dashboards.boards.variables import HOSTS, PAGES, SIZES

TITLE = "HVO / Kernel developer"
UID = KERNEL
DESCRIPTION = (
    "HugeTLB Vmemmap Optimization in detail: calls, PTEs, frames and time per huge page, batches, "
    "failures by errno, data quality, and exporter cost."
)
VARIABLES = ("job", "cluster", "instance", "size", "numa_node")
ONE = ""
DETAILS = ()
annotations = of_hosts

_RATE = "$__rate_interval"


def _per_second(metric: str, by: str, selector: str = PAGES) -> str:
    return f"sum by ({by}) (rate({metric}{{{selector}}}[{_RATE}]))"


def _above_zero(metric: str, by: str, selector: str = PAGES) -> str:
    return f"{_per_second(metric, by, selector)} > 0"


def _ratio(above: str, below: str) -> str:
    """Divide; a gap, not NaN, where ``below`` is 0."""
    return f"{above} / ({below} > 0)"


def sections() -> Iterator[tuple[str, list[Panel]]]:
    """Rows of panels, top to bottom."""
    yield "Steps", list(_steps())
    yield "Per huge page", list(_per_page())
    yield "Batches (Linux 6.7 and later)", list(_batches())
    yield "Failures and data quality", list(_wrong())
    yield "Exporter cost", list(_cost())


def _steps() -> Iterator[Panel]:
    yield graph(
        Text(
            "Optimize calls",
            "Calls of free_huge_page_vmemmap or its successor per second: all, and by outcome.",
            PAGES_S,
            HOST,
        ),
        Query(_per_second("hvo_optimize_calls_total", "size"), "calls {{size}}"),
        Query(_per_second("hvo_hugepages_optimized_total", "size"), "optimized {{size}}"),
        Query(_per_second("hvo_hugepages_skipped_total", "size"), "skipped {{size}}"),
        Query(_per_second("hvo_optimize_failures_total", "size"), "failed {{size}}"),
        sizes=True,
    )
    yield graph(
        Text(
            "Restore calls",
            "Calls of alloc_huge_page_vmemmap or its successor per second, by outcome.",
            PAGES_S,
            HOST,
        ),
        Query(_per_second("hvo_hugepages_restored_total", "size"), "restored {{size}}"),
        Query(_per_second("hvo_restore_failures_total", "size"), "failed {{size}}"),
        sizes=True,
    )
    yield graph(
        Text(
            "PTEs",
            "Calls of vmemmap_remap_pte and vmemmap_restore_pte per second, of huge pages that "
            "succeeded.",
            PTES_S,
            HOST,
        ),
        Query(
            _per_second("hvo_ptes_remapped_total", "size, numa_node"),
            "remapped {{size}} on {{numa_node}}",
        ),
        Query(
            _per_second("hvo_ptes_restored_total", "size, numa_node"),
            "restored {{size}} on {{numa_node}}",
        ),
        sizes=True,
    )
    yield graph(
        Text(
            "Frames",
            "Page frames per second: freed, and allocated by cause.",
            FRAMES_S,
            HOST,
        ),
        Query(
            _per_second("hvo_frames_freed_total", "size, numa_node"),
            "freed {{size}} on {{numa_node}}",
        ),
        Query(
            _per_second("hvo_frames_allocated_total", "cause, numa_node"),
            "{{cause}} on {{numa_node}}",
        ),
        sizes=True,
    )


def _per_page() -> Iterator[Panel]:
    optimized = _per_second("hvo_hugepages_optimized_total", "instance, size")
    yield graph(
        Text(
            "PTEs and frames per huge page",
            "PTEs remapped and frames freed per huge page optimized. Expected for 2 MB: 6 and 6 "
            "(two reserved pages, up to Linux 5.17), 7 and 7, or 8 and 8 (6.2 and later, which "
            "allocate a new head page). Any other value is a bug.",
            "short",
            HOST,
        ),
        Query(
            _ratio(_per_second("hvo_ptes_remapped_total", "instance, size"), optimized),
            "{{instance}} {{size}}: PTEs",
        ),
        Query(
            _ratio(_per_second("hvo_frames_freed_total", "instance, size"), optimized),
            "{{instance}} {{size}}: frames",
        ),
    )
    yield graph(
        Text(
            "Time per PTE",
            "Time in the per-page function, with all its work, per PTE remapped or restored.",
            "s",
            HOST,
        ),
        *(
            Query(
                _ratio(
                    _per_second(f"hvo_{noun}_duration_seconds_sum", "size", SIZES),
                    _per_second(f"hvo_ptes_{done}_total", "size"),
                ),
                f"{done} {{{{size}}}}",
            )
            for noun, done in (("optimize", "remapped"), ("restore", "restored"))
        ),
    )
    yield graph(
        Text(
            "Mean time per huge page",
            "Mean time in the per-page function, without calls that had nothing to do.",
            "s",
            HOST,
        ),
        *(
            Query(
                _ratio(
                    _per_second(f"hvo_{operation}_duration_seconds_sum", "size", SIZES),
                    _per_second(f"hvo_{operation}_duration_seconds_count", "size", SIZES),
                ),
                f"{operation} {{{{size}}}}",
            )
            for operation in ("optimize", "restore")
        ),
    )
    yield graph(
        Text(
            "Optimize latency quantiles",
            "Median, 90th and 99th percentile, estimated from buckets at 1, 2 and 5.",
            "s",
            HOST,
        ),
        *(
            Query(
                f"histogram_quantile({quantile}, "
                + _per_second("hvo_optimize_duration_seconds_bucket", "size, le", SIZES)
                + ")",
                f"p{round(quantile * 100)} {{{{size}}}}",
            )
            for quantile in (0.5, 0.9, 0.99)
        ),
    )


def _batches() -> Iterator[Panel]:
    count = _per_second("hvo_optimize_batch_duration_seconds_count", "instance, size", SIZES)
    yield graph(
        Text(
            "Huge pages per batch",
            "Huge pages optimized per call of hugetlb_vmemmap_optimize_folios, without lists that "
            "had nothing to do. Kernels before 6.7 have no batches.",
            "short",
            HOST,
        ),
        Query(
            _ratio(_per_second("hvo_hugepages_optimized_total", "instance, size"), count),
            "{{instance}} {{size}}",
        ),
    )
    yield graph(
        Text(
            "Batch latency quantiles",
            "Time in hugetlb_vmemmap_optimize_folios, including its one TLB flush.",
            "s",
            HOST,
        ),
        *(
            Query(
                f"histogram_quantile({quantile}, "
                + _per_second("hvo_optimize_batch_duration_seconds_bucket", "size, le", SIZES)
                + ")",
                f"p{round(quantile * 100)} {{{{size}}}}",
            )
            for quantile in (0.5, 0.99)
        ),
    )


def _wrong() -> Iterator[Panel]:
    yield graph(
        Text(
            "Failures by errno",
            "Huge pages per second that failed to be optimized or restored.",
            PAGES_S,
            HOST,
        ),
        Query(
            _above_zero("hvo_optimize_failures_total", "size, error"), "optimize {{size}} {{error}}"
        ),
        Query(
            _above_zero("hvo_restore_failures_total", "size, error"), "restore {{size}} {{error}}"
        ),
        none="none",
    )
    yield graph(
        Text(
            "Missed hits, lost events, map errors",
            "Per second: probe hits that the kernel dropped, event records lost, operations not "
            "counted because a BPF map was full. Above 0, counts are too low.",
            RECORDS_S,
            HOST,
        ),
        Query(
            _above_zero("hvo_probe_missed_total", "instance, step", HOSTS), "{{instance}} {{step}}"
        ),
        Query(
            _above_zero("hvo_events_lost_total", "instance, where", HOSTS), "{{instance}} {{where}}"
        ),
        Query(_above_zero("hvo_map_errors_total", "instance, map", HOSTS), "{{instance}} {{map}}"),
        none="none",
    )
    yield graph(
        Text(
            "Known kernel bugs",
            "Machines whose kernel is recognized to have a bug of HVO; expected: none. "
            "restore-leak: huge pages that are given back are lost.",
            "short",
            FLEET,
        ),
        Query(f"sum by (instance, bug) (hvo_kernel_bug{{{HOSTS}}})", "{{instance}} {{bug}}"),
        none="none",
    )


def _cost() -> Iterator[Panel]:
    yield graph(
        Text(
            "Scrape duration",
            "Time to collect all metrics, and the maximum of each collector.",
            "s",
            FLEET,
        ),
        Query(f"max by (instance) (hvo_scrape_duration_seconds{{{HOSTS}}})", "{{instance}}: all"),
        Query(
            f"max by (collector) (hvo_scrape_collector_duration_seconds{{{HOSTS}}})",
            "max {{collector}}",
        ),
    )
    yield graph(
        Text(
            "Failed collectors",
            "Exporters on which this collector's last run failed: its metrics are missing. "
            "Expected: 0.",
            "short",
            FLEET,
        ),
        Query(
            f"(count by (collector) (hvo_scrape_collector_success{{{HOSTS}}})"
            f" - sum by (collector) (hvo_scrape_collector_success{{{HOSTS}}})) > 0",
            "{{collector}}",
        ),
        none="none",
    )
    yield graph(
        Text(
            "Exporter memory",
            "Resident memory of each exporter. In a simulated or replayed fleet this is the "
            "process that simulates, not the daemon of a host (27 MiB).",
            "bytes",
            FLEET,
        ),
        Query(
            f"max by (instance) (process_resident_memory_bytes{{{HOSTS}}}"
            f" and ignoring (version, python) hvo_build_info{{{HOSTS}}})",
            "{{instance}}",
        ),
    )

# SPDX-License-Identifier: Apache-2.0
"""The Kernel developer's dashboard: each step, its cost, its batches, and what hvoscope costs."""

from collections.abc import Iterator

from dashboards.boards.panels import FLEET, HOST, KERNEL, Panel, Query, Text, graph
from dashboards.boards.variables import HOSTS, PAGES, SIZES

TITLE = "HVO / Kernel developer"
UID = KERNEL
DESCRIPTION = (
    "HugeTLB Vmemmap Optimisation step by step: calls, PTEs, frames and time for each huge page, "
    "batches, failures by errno, and what the probes missed or cost."
)
VARIABLES = ("job", "instance", "size", "node")

_RATE = "$__rate_interval"


def _per_second(metric: str, by: str, selector: str = PAGES) -> str:
    return f"sum by ({by}) (rate({metric}{{{selector}}}[{_RATE}]))"


def _ratio(above: str, below: str) -> str:
    """A gap, not NaN, where nothing happened."""
    return f"{above} / ({below} > 0)"


def sections() -> Iterator[tuple[str, list[Panel]]]:
    """Rows of panels, top to bottom."""
    yield "Steps", list(_steps())
    yield "Per huge page", list(_per_page())
    yield "Batches (Linux 6.7 and later)", list(_batches())
    yield "What went wrong, and what was not seen", list(_wrong())
    yield "What hvoscope costs", list(_cost())


def _steps() -> Iterator[Panel]:
    yield graph(
        Text(
            "Calls of the per-page function",
            "free_huge_page_vmemmap or its successor, per second: all calls, and what became of "
            "them.",
            "ops",
            HOST,
        ),
        Query(_per_second("hvo_optimize_calls_total", "size"), "calls {{size}}"),
        Query(_per_second("hvo_hugepages_optimized_total", "size"), "optimised {{size}}"),
        Query(_per_second("hvo_hugepages_skipped_total", "size"), "skipped {{size}}"),
        Query(_per_second("hvo_optimize_failures_total", "size"), "failed {{size}}"),
    )
    yield graph(
        Text(
            "Calls of the way back",
            "alloc_huge_page_vmemmap or its successor, per second: restored, and failed.",
            "ops",
            HOST,
        ),
        Query(_per_second("hvo_hugepages_restored_total", "size"), "restored {{size}}"),
        Query(_per_second("hvo_restore_failures_total", "size"), "failed {{size}}"),
    )
    yield graph(
        Text(
            "PTEs",
            "vmemmap_remap_pte and vmemmap_restore_pte, per second, of huge pages that succeeded.",
            "cps",
            HOST,
        ),
        Query(
            _per_second("hvo_ptes_remapped_total", "size, node"), "remapped {{size}} on {{node}}"
        ),
        Query(
            _per_second("hvo_ptes_restored_total", "size, node"), "restored {{size}} on {{node}}"
        ),
    )
    yield graph(
        Text(
            "Frames",
            "Page frames per second: given back, and taken by cause.",
            "cps",
            HOST,
        ),
        Query(_per_second("hvo_frames_freed_total", "size, node"), "freed {{size}} on {{node}}"),
        Query(_per_second("hvo_frames_allocated_total", "cause, node"), "{{cause}} on {{node}}"),
    )


def _per_page() -> Iterator[Panel]:
    optimized = _per_second("hvo_hugepages_optimized_total", "instance, size")
    yield graph(
        Text(
            "PTEs and frames for each huge page",
            "PTEs remapped and frames freed for each huge page optimised. Of 2 MB: 6 and 6 (two "
            "reserved pages, to Linux 5.17), 7 and 7, or 8 and 8 (from 6.2 on, where one more is "
            "taken for a new head page). Anything else is a finding.",
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
            "Time for each PTE",
            "Time in the per-page function for each PTE remapped or restored, all it does besides "
            "included.",
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
            "Mean time for each huge page",
            "Time in the per-page function, mean of those that did or tried something.",
            "s",
            HOST,
        ),
        *(
            Query(
                _ratio(
                    _per_second(f"hvo_{noun}_duration_seconds_sum", "size", SIZES),
                    _per_second(f"hvo_{noun}_duration_seconds_count", "size", SIZES),
                ),
                f"{verb} {{{{size}}}}",
            )
            for noun, verb in (("optimize", "optimise"), ("restore", "restore"))
        ),
    )
    yield graph(
        Text(
            "Time to optimise: p50, p90, p99",
            "From the buckets of 1, 2 and 5.",
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
            "Huge pages in a batch",
            "Huge pages optimised for each list that hugetlb_vmemmap_optimize_folios was given; "
            "lists with nothing to do are left out. Kernels before 6.7 have no batches.",
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
            "Time for a batch: p50 and p99",
            "Time inside hugetlb_vmemmap_optimize_folios, its one TLB flush included.",
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
            "Huge pages per second that could not be optimised or restored.",
            "ops",
            HOST,
        ),
        Query(
            _per_second("hvo_optimize_failures_total", "size, error"), "optimise {{size}} {{error}}"
        ),
        Query(
            _per_second("hvo_restore_failures_total", "size, error"), "restore {{size}} {{error}}"
        ),
        zero_is_right=True,
    )
    yield graph(
        Text(
            "Missed, lost, without room",
            "Per second: hits that the kernel dropped, stream records lost, operations without "
            "room in a map. Anything above 0 means that counts are too low.",
            "ops",
            HOST,
        ),
        Query(
            _per_second("hvo_probe_missed_total", "instance, step", HOSTS), "{{instance}} {{step}}"
        ),
        Query(
            _per_second("hvo_events_lost_total", "instance, where", HOSTS), "{{instance}} {{where}}"
        ),
        Query(_per_second("hvo_map_errors_total", "instance, map", HOSTS), "{{instance}} {{map}}"),
        zero_is_right=True,
    )


def _cost() -> Iterator[Panel]:
    yield graph(
        Text(
            "Time for a scrape",
            "How long the exporter takes to answer, and each of its collectors.",
            "s",
            FLEET,
        ),
        Query(f"max by (instance) (hvo_scrape_duration_seconds{{{HOSTS}}})", "{{instance}}: all"),
        Query(
            f"max by (collector) (hvo_scrape_collector_duration_seconds{{{HOSTS}}})",
            "largest {{collector}}",
        ),
    )
    yield graph(
        Text(
            "Collectors that fail",
            "1 for each collector whose last run failed: what it shows is missing. 0 is right.",
            "short",
            FLEET,
        ),
        Query(
            f"count by (collector) (hvo_scrape_collector_success{{{HOSTS}}})"
            f" - sum by (collector) (hvo_scrape_collector_success{{{HOSTS}}})",
            "{{collector}}",
        ),
        zero_is_right=True,
    )
    yield graph(
        Text(
            "Memory of the exporter",
            "Resident memory of each exporter.",
            "bytes",
            FLEET,
        ),
        Query(f"max by (instance) (process_resident_memory_bytes{{{HOSTS}}})", "{{instance}}"),
    )

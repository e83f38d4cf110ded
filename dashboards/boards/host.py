# SPDX-License-Identifier: Apache-2.0
"""The Host dashboard: what HVO saves on a machine, what it does, and whether to believe it."""

from collections.abc import Iterator

from grafana_foundation_sdk.models.dashboard import ValueMappingResult

from dashboards.boards import columns
from dashboards.boards.panels import (
    FLEET,
    HOST,
    KERNEL,
    ONLY_ZERO_IS_RIGHT,
    Panel,
    Query,
    Text,
    bad_from,
    good_from,
    graph,
    latency_map,
    number,
    rows,
)
from dashboards.boards.variables import HOSTS, PAGES, SIZES

TITLE = "HVO / Host"
UID = HOST
DESCRIPTION = (
    "HugeTLB Vmemmap Optimisation on one machine or a few: memory given back, what the kernel did "
    "for it, how long that took, and whether the probes saw all of it."
)
VARIABLES = ("job", "instance", "size", "node")

_RATE = "$__rate_interval"


def sections() -> Iterator[tuple[str, list[Panel]]]:
    """Rows of panels, top to bottom."""
    yield "Now", list(_now())
    yield "Memory", list(_memory())
    yield "What the kernel does, per second", list(_activity())
    yield "How long it takes", list(_latency())
    yield "Pools", list(_pools())
    yield "Can the counts be believed?", list(_health())


def _now() -> Iterator[Panel]:
    yield number(
        Text(
            "Memory saved",
            "Memory that HVO has given back, whole machine, pages optimised at boot included; from "
            "the kernel's own accounts, which it shows from Linux 6.11 on.",
            "bytes",
            FLEET,
        ),
        Query(f"sum(hvo_memmap_saved_bytes{{{HOSTS}}})", "saved"),
        absent="kernel before 6.11",
    )
    yield number(
        Text(
            "HVO switch",
            "vm.hugetlb_optimize_vmemmap as the kernel has it now; off on any machine shown is "
            "off here. Kernels before 5.19 have no switch to read.",
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
    )
    yield number(
        Text(
            "Failed to optimise",
            "Huge pages that the kernel could not optimise in the time shown: they keep all their "
            "memory. ENOMEM means that there was no page for a page table or a new head.",
            "short",
            KERNEL,
        ),
        Query(f"sum(increase(hvo_optimize_failures_total{{{PAGES}}}[$__range]))", "failures"),
        thresholds=bad_from(0.5, "orange"),
        sparkline=False,
    )
    yield number(
        Text(
            "Failed to restore",
            "Huge pages that could not be given back in the time shown, for want of the memory "
            "that they had saved: they stay in the pool as surplus.",
            "short",
            KERNEL,
        ),
        Query(f"sum(increase(hvo_restore_failures_total{{{PAGES}}}[$__range]))", "failures"),
        thresholds=bad_from(0.5),
        sparkline=False,
    )
    yield number(
        Text(
            "Probes detached",
            "Kernel steps that nobody watches: what they count is missing. "
            "`hvoscope check` on the host says why.",
            "short",
            KERNEL,
        ),
        Query(
            f"count(hvo_probe_attached{{{HOSTS}}}) - sum(hvo_probe_attached{{{HOSTS}}})", "detached"
        ),
        thresholds=bad_from(1),
        sparkline=False,
    )
    yield number(
        Text(
            "Accounting drift",
            "Frames by which probes and kernel disagree, largest of the machines shown; 0 is "
            "right. Linux 6.11 and later.",
            "short",
            KERNEL,
        ),
        Query(f"max(abs(hvo_accounting_drift_frames{{{HOSTS}}}))", "drift"),
        thresholds=ONLY_ZERO_IS_RIGHT,
        absent="kernel before 6.11",
        sparkline=False,
    )


def _memory() -> Iterator[Panel]:
    yield graph(
        Text(
            "Memory saved over time",
            "Memory given back, by machine, from the kernel's own accounts (Linux 6.11 and later).",
            "bytes",
            FLEET,
        ),
        Query(f"sum by (instance) (hvo_memmap_saved_bytes{{{HOSTS}}})", "{{instance}}"),
        stacked=True,
    )
    yield graph(
        Text(
            "Frames saved since the probes were attached",
            "Page frames freed less frames allocated, by size and node, as the probes counted "
            "them, on any kernel. Below 0 when pages that were optimised before are restored. A "
            "frame is 4 KiB on x86-64.",
            "short",
            KERNEL,
        ),
        Query(
            f"sum by (size, node) (hvo_frames_freed_total{{{PAGES}}})"
            f" - sum by (size, node) (hvo_frames_allocated_total{{{PAGES}}})",
            "{{size}} on node {{node}}",
        ),
    )


def _activity() -> Iterator[Panel]:
    yield graph(
        Text(
            "Huge pages optimised and restored",
            "Huge pages per second whose vmemmap was remapped, or given back its own frames.",
            "ops",
            KERNEL,
        ),
        Query(
            f"sum by (size) (rate(hvo_hugepages_optimized_total{{{PAGES}}}[{_RATE}]))",
            "optimised {{size}}",
        ),
        Query(
            f"sum by (size) (rate(hvo_hugepages_restored_total{{{PAGES}}}[{_RATE}]))",
            "restored {{size}}",
        ),
    )
    yield graph(
        Text(
            "Skipped and failed",
            "Huge pages per second that were left as they are: skipped because HVO is off, the "
            "size can't be, or there was nothing to do; or failed, by errno.",
            "ops",
            KERNEL,
        ),
        Query(
            f"sum by (reason) (rate(hvo_hugepages_skipped_total{{{PAGES}}}[{_RATE}]))",
            "skipped: {{reason}}",
        ),
        Query(
            f"sum by (error) (rate(hvo_optimize_failures_total{{{PAGES}}}[{_RATE}]))",
            "optimise: {{error}}",
        ),
        Query(
            f"sum by (error) (rate(hvo_restore_failures_total{{{PAGES}}}[{_RATE}]))",
            "restore: {{error}}",
        ),
        zero_is_right=True,
    )
    yield graph(
        Text(
            "PTEs remapped and restored",
            "Page table entries per second pointed at a shared frame, or back at their own.",
            "cps",
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
    )
    yield graph(
        Text(
            "Frames freed and allocated",
            "Page frames per second given back to the kernel, and taken: for a new head page "
            "(Linux 6.2 and later), or to restore.",
            "cps",
            KERNEL,
        ),
        Query(
            f"sum by (size) (rate(hvo_frames_freed_total{{{PAGES}}}[{_RATE}]))", "freed {{size}}"
        ),
        Query(
            f"sum by (size, cause) (rate(hvo_frames_allocated_total{{{PAGES}}}[{_RATE}]))",
            "allocated {{size}}, {{cause}}",
        ),
    )


def _latency() -> Iterator[Panel]:
    for verb, noun in (("optimise", "optimize"), ("restore", "restore")):
        metric = f"hvo_{noun}_duration_seconds"
        yield latency_map(
            Text(
                f"Time to {verb} a huge page",
                f"How many huge pages took how long to {verb}; calls that had nothing to do are "
                "left out.",
                "s",
                KERNEL,
            ),
            Query(f"sum by (le) (increase({metric}_bucket{{{SIZES}}}[{_RATE}]))", "{{le}}"),
        )
        yield graph(
            Text(
                f"Time to {verb}: p50 and p99",
                f"Half of the huge pages, and 99 of 100, took no longer to {verb}; read off the "
                "buckets of 1, 2 and 5.",
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
            "Huge pages in the pools",
            "Pool pages by size and state: all, free, promised to someone (reserved), and beyond "
            "the pool's set size (surplus).",
            "short",
            KERNEL,
        ),
        Query(
            f"sum by (size, state) (hvo_pool_hugepages{{{PAGES}}})",
            "{{size}} {{state}}",
        ),
    )
    yield graph(
        Text(
            "Surplus, and how much is allowed",
            "Surplus pages by size, and the limit of nr_overcommit_hugepages. Surplus beyond it is "
            "what failed restores leave behind.",
            "short",
            KERNEL,
        ),
        Query(
            f'sum by (size) (hvo_pool_hugepages{{{PAGES}, state="surplus"}})', "surplus {{size}}"
        ),
        Query(
            f"sum by (size) (hvo_pool_overcommit_hugepages{{{SIZES}}})",
            "allowed {{size}}",
        ),
    )


def _health() -> Iterator[Panel]:
    yield graph(
        Text(
            "What probes and kernel say of the memmap",
            "Net frames freed as the probes counted them, less the fall of nr_memmap_pages and "
            "nr_memmap_boot_pages; a flat line at 0 is right. Memory hotplug moves it, too.",
            "short",
            KERNEL,
        ),
        Query(f"hvo_accounting_drift_frames{{{HOSTS}}}", "{{instance}}"),
        zero_is_right=True,
    )
    yield graph(
        Text(
            "Frames that hold struct pages",
            "nr_memmap_boot_pages and nr_memmap_pages: what is left of the memmap, by allocator "
            "(Linux 6.11 and later).",
            "short",
            KERNEL,
        ),
        Query(f"sum by (instance, kind) (hvo_memmap_pages{{{HOSTS}}})", "{{instance}} {{kind}}"),
    )
    yield rows(
        Text(
            "Probes",
            "Which kernel function each step is watched at, and how. Detached is red: "
            "`hvoscope check` says why.",
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
    yield graph(
        Text(
            "Missed, lost, without room",
            "Per second: hits that the kernel dropped, stream records lost, and operations that "
            "found no room in a BPF map. Anything above 0 means that counts are too low.",
            "ops",
            KERNEL,
        ),
        Query(
            f"sum by (step) (rate(hvo_probe_missed_total{{{HOSTS}}}[{_RATE}]))", "missed: {{step}}"
        ),
        Query(
            f"sum by (where) (rate(hvo_events_lost_total{{{HOSTS}}}[{_RATE}]))", "lost: {{where}}"
        ),
        Query(f"sum by (map) (rate(hvo_map_errors_total{{{HOSTS}}}[{_RATE}]))", "no room: {{map}}"),
        zero_is_right=True,
    )

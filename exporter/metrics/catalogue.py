# SPDX-License-Identifier: Apache-2.0
"""Every metric there is: name, type, labels, meaning, and who can give it.

The collector makes nothing else, ``METRICS.md`` is made from it, and so is a test of every scrape.
Names without ``_total``: the exposition adds it to counters. The next metric is an entry here.
"""

from typing import NamedTuple

from probes.observation import PARTS

COUNTER, GAUGE, HISTOGRAM = "counter", "gauge", "histogram"

BACKENDS = ("bcc", "sim")


class Metric(NamedTuple):
    """One family. ``labels`` in the order in which the collector gives their values."""

    name: str
    kind: str
    labels: tuple[str, ...]
    help: str
    """What it counts, and the kernel function or file that it comes from."""
    since: str = ""
    """First Linux release that can give it; empty where any can."""
    backends: tuple[str, ...] = BACKENDS

    @property
    def exposed_name(self) -> str:
        """As a scrape spells it."""
        return f"{self.name}_total" if self.kind == COUNTER else self.name


_PAGE = ("size", "node")
_HVO = "5.14"
"""The release that HVO came with."""

TOTALS: dict[str, Metric] = {
    family: Metric(f"hvo_{family}", COUNTER, (*_PAGE, *extra), text, _HVO)
    for family, extra, text in (
        (
            "optimize_calls",
            (),
            "Calls of free_huge_page_vmemmap or its successor, also when HVO is off.",
        ),
        (
            "hugepages_optimized",
            (),
            "Huge pages whose vmemmap was remapped (vmemmap_remap_free succeeded).",
        ),
        (
            "hugepages_skipped",
            ("reason",),
            "Calls of free_huge_page_vmemmap that had nothing to do: off, unsupported size, other "
            "(already optimised or self-hosted), or unknown.",
        ),
        (
            "optimize_failures",
            ("error",),
            "Optimisations that failed and were rolled back, by errno of vmemmap_remap_free, or "
            "unknown where no return value could be read.",
        ),
        (
            "ptes_remapped",
            (),
            "Vmemmap PTEs pointed at a shared or new frame (vmemmap_remap_pte), of optimised huge "
            "pages.",
        ),
        (
            "frames_freed",
            (),
            "Vmemmap page frames given back to the buddy or boot allocator "
            "(free_vmemmap_page_list).",
        ),
        (
            "frames_allocated",
            ("cause",),
            "Vmemmap page frames taken: a new head page (vmemmap_remap_free of Linux 6.2 and "
            "later), or to restore (alloc_vmemmap_page_list).",
        ),
        (
            "hugepages_restored",
            (),
            "Huge pages whose vmemmap was restored (alloc_huge_page_vmemmap or its successor).",
        ),
        (
            "ptes_restored",
            (),
            "Vmemmap PTEs pointed back at frames of their own (vmemmap_restore_pte), of restored "
            "huge pages.",
        ),
        (
            "restore_failures",
            ("error",),
            "Restores that failed, by errno of alloc_huge_page_vmemmap or its successor: the huge "
            "page stays, as surplus.",
        ),
    )
}
"""By family of ``probes.counters.Slot``."""

DURATIONS: dict[str, Metric] = {
    "optimize": Metric(
        "hvo_optimize_duration_seconds",
        HISTOGRAM,
        ("size",),
        "Time inside free_huge_page_vmemmap or its successor; skipped calls are left out.",
        _HVO,
    ),
    "batch": Metric(
        "hvo_optimize_batch_duration_seconds",
        HISTOGRAM,
        ("size",),
        "Time inside hugetlb_vmemmap_optimize_folios, a whole list at once (Linux 6.7 and later); "
        "lists with nothing to do are left out.",
        "6.7",
    ),
    "restore": Metric(
        "hvo_restore_duration_seconds",
        HISTOGRAM,
        ("size",),
        "Time inside alloc_huge_page_vmemmap or its successor; calls without work are left out.",
        _HVO,
    ),
}

PROBE_ATTACHED = Metric(
    "hvo_probe_attached",
    GAUGE,
    ("step", "symbol", "attach"),
    "1 when the step's probe is attached, to which kernel function and how; 0 when it is not.",
)
PROBE_MISSED = Metric(
    "hvo_probe_missed",
    COUNTER,
    ("step",),
    "Hits that the kernel dropped: programs it would not run (recursion_misses), and returns for "
    "which it had no return probe left. Pages whose return was dropped are counted all the same, "
    "by their last PTE or the end of the walk. Absent where nothing counts them: kprobes on PTEs "
    "before Linux 6.7.",
    _HVO,
)
MAP_ERRORS = Metric(
    "hvo_map_errors",
    COUNTER,
    ("map",),
    "Operations that found no room in a BPF map, so that they are not counted.",
    _HVO,
    ("bcc",),
)
EVENTS_LOST = Metric(
    "hvo_events_lost",
    COUNTER,
    ("where",),
    "Event stream records lost, by place of loss; only where events are streamed.",
    _HVO,
)
POOL_HUGEPAGES = Metric(
    "hvo_pool_hugepages",
    GAUGE,
    (*_PAGE, "state"),
    "Huge pages in the pool: total, free or surplus, from /sys/devices/system/node; or reserved "
    "(resv_hugepages of /sys/kernel/mm/hugepages), which belongs to no node, so that its node is "
    "empty.",
)
POOL_OVERCOMMIT = Metric(
    "hvo_pool_overcommit_hugepages",
    GAUGE,
    ("size",),
    "How many surplus huge pages the pool may have: nr_overcommit_hugepages of "
    "/sys/kernel/mm/hugepages.",
)
ENABLED = Metric(
    "hvo_enabled",
    GAUGE,
    (),
    "The HVO switch as the kernel has it (vm.hugetlb_optimize_vmemmap).",
    "5.19",
)
MEMMAP_PAGES = Metric(
    "hvo_memmap_pages",
    GAUGE,
    ("kind",),
    "Page frames that hold struct pages: nr_memmap_boot_pages (boot) and nr_memmap_pages "
    "(runtime) of /proc/vmstat.",
    "6.11",
)
MEMMAP_SAVED = Metric(
    "hvo_memmap_saved_bytes",
    GAUGE,
    (),
    "Memory that HVO saves on the whole machine, boot-time huge pages included: what the struct "
    "pages of all memory blocks would take, less nr_memmap_boot_pages and nr_memmap_pages of "
    "/proc/vmstat.",
    "6.11",
)
ACCOUNTING_DRIFT = Metric(
    "hvo_accounting_drift_frames",
    GAUGE,
    (),
    "Net frames freed as the probes counted them, less the fall of nr_memmap_pages and "
    "nr_memmap_boot_pages, since attach; 0 is right.",
    "6.11",
)
BACKEND_INFO = Metric(
    "hvo_backend_info",
    GAUGE,
    ("backend", "kernel", "mode"),
    "Where the numbers come from; mode is simulated when no kernel was looked at.",
)
BUILD_INFO = Metric("hvo_build_info", GAUGE, ("version", "python"), "This exporter's build.")
SCRAPE_DURATION = Metric(
    "hvo_scrape_duration_seconds", GAUGE, (), "Time that collecting this scrape took."
)
COLLECTOR_DURATION = Metric(
    "hvo_scrape_collector_duration_seconds",
    GAUGE,
    ("collector",),
    "Time that one collector took in this scrape.",
)
COLLECTOR_SUCCESS = Metric(
    "hvo_scrape_collector_success",
    GAUGE,
    ("collector",),
    "1 when the collector worked in this scrape; 0 when it failed: its series are then absent, "
    "and the log says why.",
)
COLLECTORS = PARTS
"""Values of the label ``collector``: what can fail by itself."""

OWN: tuple[Metric, ...] = (
    BACKEND_INFO,
    BUILD_INFO,
    SCRAPE_DURATION,
    COLLECTOR_DURATION,
    COLLECTOR_SUCCESS,
)
"""Of the exporter itself: in every scrape, whatever fails."""

ALL: tuple[Metric, ...] = (
    *TOTALS.values(),
    *DURATIONS.values(),
    PROBE_ATTACHED,
    PROBE_MISSED,
    MAP_ERRORS,
    EVENTS_LOST,
    POOL_HUGEPAGES,
    POOL_OVERCOMMIT,
    ENABLED,
    MEMMAP_PAGES,
    MEMMAP_SAVED,
    ACCOUNTING_DRIFT,
    *OWN,
)

# SPDX-License-Identifier: Apache-2.0
"""Catalogue of all metrics: name, type, labels, help, and the backends that provide it.

The collector exposes only these; ``docs/metrics.md`` is generated from them, and a test compares
every scrape with them. Names omit ``_total``: the exposition format adds it to counters. To add a
metric, add an entry here.
"""

from typing import NamedTuple

from probes.observation import PARTS

COUNTER, GAUGE, HISTOGRAM = "counter", "gauge", "histogram"

PROBED = ("bcc", "sim")
"""Backends that have probes."""
_LIVE = ("bcc", "state")
BACKENDS = (*PROBED, "state")


class Metric(NamedTuple):
    """One metric family; ``labels`` are in the order of the collector's values."""

    name: str
    kind: str
    labels: tuple[str, ...]
    help: str
    """What it counts, and the kernel function or file of its values."""
    since: str = ""
    """First Linux release that provides it; empty: all do."""
    backends: tuple[str, ...] = PROBED

    @property
    def exposed_name(self) -> str:
        """The name in a scrape."""
        return f"{self.name}_total" if self.kind == COUNTER else self.name


_PAGE = ("size", "numa_node")
_HVO = "5.14"
"""The Linux release that introduced HVO."""

TOTALS: dict[str, Metric] = {
    family: Metric(f"hvo_{family}", COUNTER, (*_PAGE, *extra), text, _HVO)
    for family, extra, text in (
        (
            "optimize_calls",
            (),
            "Calls of free_huge_page_vmemmap or its successor, including those while HVO is off.",
        ),
        (
            "hugepages_optimized",
            (),
            "Huge pages whose vmemmap was remapped (vmemmap_remap_free succeeded).",
        ),
        (
            "hugepages_skipped",
            ("reason",),
            "Calls of free_huge_page_vmemmap that had nothing to do, by reason: off, unsupported "
            "(size), other (already optimized or self-hosted), or unknown.",
        ),
        (
            "optimize_failures",
            ("error",),
            "Optimizations that failed and were rolled back, by errno of vmemmap_remap_free; "
            "unknown if the return value could not be read.",
        ),
        (
            "ptes_remapped",
            (),
            "Vmemmap PTEs remapped to a shared or new frame (vmemmap_remap_pte), of optimized huge "
            "pages.",
        ),
        (
            "frames_freed",
            (),
            "Vmemmap page frames returned to the buddy or boot allocator (free_vmemmap_page_list).",
        ),
        (
            "frames_allocated",
            ("cause",),
            "Vmemmap page frames allocated, by cause: head (a new head page, vmemmap_remap_free of "
            "Linux 6.2 and later), or restore (alloc_vmemmap_page_list).",
        ),
        (
            "hugepages_restored",
            (),
            "Huge pages whose vmemmap was restored (alloc_huge_page_vmemmap or its successor).",
        ),
        (
            "ptes_restored",
            (),
            "Vmemmap PTEs remapped to frames of their own (vmemmap_restore_pte), of restored huge "
            "pages.",
        ),
        (
            "restore_failures",
            ("error",),
            "Restores that failed, by errno of alloc_huge_page_vmemmap or its successor; the huge "
            "page stays in the pool as surplus.",
        ),
    )
}
"""Counters, by family of ``probes.counters.Slot``."""

DURATIONS: dict[str, Metric] = {
    "optimize": Metric(
        "hvo_optimize_duration_seconds",
        HISTOGRAM,
        ("size",),
        "Time in free_huge_page_vmemmap or its successor, without skipped calls.",
        _HVO,
    ),
    "batch": Metric(
        "hvo_optimize_batch_duration_seconds",
        HISTOGRAM,
        ("size",),
        "Time in hugetlb_vmemmap_optimize_folios, for a list of huge pages (Linux 6.7 and later), "
        "without lists that had nothing to do.",
        "6.7",
    ),
    "restore": Metric(
        "hvo_restore_duration_seconds",
        HISTOGRAM,
        ("size",),
        "Time in alloc_huge_page_vmemmap or its successor, without calls that had nothing to do.",
        _HVO,
    ),
}

PROBE_ATTACHED = Metric(
    "hvo_probe_attached",
    GAUGE,
    ("step", "symbol", "attach"),
    "1 if the step's probe is attached, 0 if not; symbol is the kernel function, attach the attach "
    "type.",
)
PROBE_MISSED = Metric(
    "hvo_probe_missed",
    COUNTER,
    ("step",),
    "Probe hits that the kernel dropped: programs that it did not run (recursion_misses), and "
    "returns without a free return probe. Pages with a dropped return are still counted, by their "
    "last PTE or the end of the walk. Absent where the kernel does not count misses: kprobes on "
    "PTEs before Linux 6.7.",
    _HVO,
)
MAP_ERRORS = Metric(
    "hvo_map_errors",
    COUNTER,
    ("map",),
    "Operations not counted because a BPF map was full.",
    _HVO,
    ("bcc",),
)
EVENTS_LOST = Metric(
    "hvo_events_lost",
    COUNTER,
    ("where",),
    "Event records lost, by buffer; only while events are streamed.",
    _HVO,
)
POOLS: dict[str, Metric] = {
    "total": Metric(
        "hvo_pool_hugepages",
        GAUGE,
        _PAGE,
        "Huge pages of the pool, free or in use, surplus included: nr_hugepages of "
        "/sys/devices/system/node.",
    ),
    "free": Metric(
        "hvo_pool_free_hugepages",
        GAUGE,
        _PAGE,
        "Free huge pages of the pool: free_hugepages of /sys/devices/system/node.",
    ),
    "surplus": Metric(
        "hvo_pool_surplus_hugepages",
        GAUGE,
        _PAGE,
        "Huge pages above the pool's size: surplus_hugepages of /sys/devices/system/node.",
    ),
}
"""Counts by size and node, by ``probes.observation.Pool.state``."""

POOL_RESERVED = Metric(
    "hvo_pool_reserved_hugepages",
    GAUGE,
    ("size",),
    "Huge pages reserved for mappings but not yet allocated, of the whole machine: resv_hugepages "
    "of /sys/kernel/mm/hugepages.",
)
POOL_OVERCOMMIT = Metric(
    "hvo_pool_overcommit_hugepages",
    GAUGE,
    ("size",),
    "Maximum number of surplus huge pages: nr_overcommit_hugepages of /sys/kernel/mm/hugepages.",
)
ENABLED = Metric(
    "hvo_enabled",
    GAUGE,
    (),
    "1 if HVO is enabled, 0 if not (vm.hugetlb_optimize_vmemmap).",
    "5.19",
)
OPTIMIZED = Metric(
    "hvo_optimized_hugepages",
    GAUGE,
    _PAGE,
    "Huge pages whose vmemmap is optimized now, those allocated at boot included: a census of the "
    "kernel's lists (HPG_vmemmap_optimized), then kept by the probes. Absent if the census can't "
    "be taken or a hit was missed.",
    _HVO,
)
SAVED = Metric(
    "hvo_saved_bytes",
    GAUGE,
    _PAGE,
    "Memory that these huge pages save: vmemmap page frames freed less those allocated.",
    _HVO,
)
POSSIBLE = Metric(
    "hvo_possible_bytes",
    GAUGE,
    _PAGE,
    "Memory that all huge pages of the pool, surplus included, save if each is optimized.",
    _HVO,
)
CENSUS_TIME = Metric(
    "hvo_census_timestamp_seconds",
    GAUGE,
    (),
    "Unix time of the last census; since then, the probes keep the count.",
    _HVO,
    ("bcc",),
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
    "Memory saved by HVO on the whole machine, including huge pages allocated at boot: the size of "
    "struct pages for all memory blocks, less nr_memmap_boot_pages and nr_memmap_pages of "
    "/proc/vmstat.",
    "6.11",
)
ACCOUNTING_DRIFT = Metric(
    "hvo_accounting_drift_frames",
    GAUGE,
    (),
    "Net frames freed as counted by the probes, less the decrease of nr_memmap_pages and "
    "nr_memmap_boot_pages, since the probes were attached; 0 means that they agree. Before Linux "
    "6.11: less what a second census found (systemctl reload hvoscope), and absent until then.",
    _HVO,
)
SUPPORTED = Metric(
    "hvo_supported",
    GAUGE,
    (),
    "1 if this kernel can optimize huge pages, 0 if not, by the checks at the exporter's start; "
    "absent if not known.",
    "",
    _LIVE,
)
CHECK_RESULT = Metric(
    "hvo_check_result",
    GAUGE,
    ("check",),
    "1 if the check of hvoscope check found no problem at the exporter's start, 0 if it found one, "
    "which prevents HVO or probes; absent if not known.",
    "",
    _LIVE,
)
BACKEND_INFO = Metric(
    "hvo_backend_info",
    GAUGE,
    ("backend", "kernel", "mode"),
    "Source of the metrics; mode simulated means that they are not of a real kernel.",
)
BUILD_INFO = Metric(
    "hvo_build_info", GAUGE, ("version", "python"), "Version of the exporter and of Python."
)
SCRAPE_DURATION = Metric(
    "hvo_scrape_duration_seconds", GAUGE, (), "Time to collect the metrics of this scrape."
)
COLLECTOR_DURATION = Metric(
    "hvo_scrape_collector_duration_seconds",
    GAUGE,
    ("collector",),
    "Time of one collector in this scrape.",
)
COLLECTOR_SUCCESS = Metric(
    "hvo_scrape_collector_success",
    GAUGE,
    ("collector",),
    "1 if the collector succeeded in this scrape; 0 if it failed: its series are absent, and the "
    "log has the reason.",
)
COLLECTORS = PARTS
"""Values of the label ``collector``: parts of an observation that fail independently."""

OWN: tuple[Metric, ...] = (
    BACKEND_INFO,
    BUILD_INFO,
    SCRAPE_DURATION,
    COLLECTOR_DURATION,
    COLLECTOR_SUCCESS,
)
"""Metrics of the exporter itself, present in every scrape."""

ALL: tuple[Metric, ...] = (
    *TOTALS.values(),
    *DURATIONS.values(),
    PROBE_ATTACHED,
    PROBE_MISSED,
    MAP_ERRORS,
    EVENTS_LOST,
    *POOLS.values(),
    POOL_RESERVED,
    POOL_OVERCOMMIT,
    ENABLED,
    OPTIMIZED,
    SAVED,
    POSSIBLE,
    CENSUS_TIME,
    MEMMAP_PAGES,
    MEMMAP_SAVED,
    ACCOUNTING_DRIFT,
    SUPPORTED,
    CHECK_RESULT,
    *OWN,
)

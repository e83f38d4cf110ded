# SPDX-License-Identifier: Apache-2.0
"""Target of a plan: the machine that hvoscope runs on, or one described by options."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from exporter.savings.forecast import Demand, check_architecture, check_possible
from probes.census.census import saved_frames
from probes.census.facts import CensusError
from probes.geometry import EVERY_ARCHITECTURE, Geometry, size_label, vmemmap_by_pmds
from probes.kernel.host import Host
from probes.kernel.hugetlb_state import KernelState, huge_page_sizes
from probes.observation import known
from probes.preflight.facts import Facts

_ARCHITECTURE_OF = {"x86_64": "x86-64", "aarch64": "arm64"}
"""Name of the machine in uname -> name in ``EVERY_ARCHITECTURE``, where they differ."""

DEFAULT_STRUCT_PAGE = 64
"""sizeof(struct page) of nearly every 64-bit kernel, in bytes."""
V17_RESERVED = 2
"""Reserved vmemmap pages per huge page, from patch v17 to Linux 5.17."""
DEFAULT_RESERVED = 1
"""Reserved vmemmap pages from Linux 5.18 on (commit e7d324850bfc)."""

_NO_NODE = -1
"""Node of huge pages whose node the kernel does not show."""

_EMPTY = "no huge pages are allocated on this machine: give --size and --count"


@dataclass(frozen=True)
class GeometryOptions:
    """Geometry from the command line; None: not given."""

    architecture: str | None = None
    page_size: int | None = None
    struct_page: int | None = None
    reserved: int | None = None


@dataclass(frozen=True)
class Target:
    """The machine to plan for."""

    architecture: str
    geometry: Geometry
    demands: Sequence[Demand]
    facts: Facts | None = None
    """The running kernel; None for a machine described by options."""
    notes: tuple[str, ...] = ()
    """Assumptions and missing values, one per line."""

    saved_now: int | None = None
    """Bytes that HVO already saves; None: not known."""
    saved_by: str = ""
    """How that is known."""

    @property
    def in_batches(self) -> bool | None:
        """Whether the kernel optimizes in batches (Linux 6.7 and later); None: not known."""
        if self.facts is None or isinstance(self.facts.symbols, OSError):
            return None
        return "hugetlb_vmemmap_optimize_folios" in self.facts.symbols


def target_from_options(options: GeometryOptions, demands: Sequence[Demand]) -> Target:
    """Make a target from options, with defaults for those not given.

    Raises ``ValueError`` for an impossible geometry.
    """
    architecture = options.architecture or "x86-64"
    geometry = Geometry(
        options.page_size or next(iter(EVERY_ARCHITECTURE[architecture])),
        options.struct_page or DEFAULT_STRUCT_PAGE,
        options.reserved or DEFAULT_RESERVED,
        vmemmap_by_pmds(architecture),
    )
    check_possible(geometry)
    check_architecture(architecture, geometry, [demand.size for demand in demands])
    return Target(architecture, geometry, demands)


def target_from_host(host: Host, page_size: int, options: GeometryOptions) -> Target:
    """Make a target from the running machine and its current huge pages per node.

    Raises ``ValueError`` if it has no huge page sizes or ``options`` are impossible; ``OSError`` if
    the sizes can't be listed.
    """
    sizes = huge_page_sizes(host)
    if not sizes:
        folder = host.sys / "kernel/mm/hugepages"
        missing = "" if host.sys.is_dir() else f"{host.sys} does not exist: "
        raise ValueError(f"{missing}{folder} lists no huge page size: give --size and --count")
    facts = Facts(host)
    struct_page, struct_page_notes = _struct_page(facts, options)
    reserved, reserved_notes = _reserved(facts, options)
    architecture = _ARCHITECTURE_OF.get(host.machine, host.machine)
    geometry = Geometry(page_size, struct_page, reserved, vmemmap_by_pmds(architecture))
    if options.struct_page:
        check_possible(geometry)
    state = KernelState(host, page_size)
    demands, pool_notes = _demands(state)
    return Target(
        architecture,
        geometry,
        demands,
        facts,
        (*pool_notes, *struct_page_notes, *reserved_notes),
        *_saved_now(facts, state, page_size),
    )


def _saved_now(facts: Facts, state: KernelState, page_size: int) -> tuple[int | None, str]:
    """By a census, which takes privileges; else by the kernel's accounting (Linux 6.11)."""
    if not isinstance(facts.census, CensusError):
        frames = saved_frames(facts.census)
        if frames is not None:
            return frames * page_size, "a census of the kernel's lists"
    return known(state.saved_bytes(state.memmap_pages())), "the kernel's own accounting"


def _demands(state: KernelState) -> tuple[list[Demand], tuple[str, ...]]:
    """Return the current huge pages per node, and a note for each inconsistent count."""
    demands, notes = [], []
    by_node: Counter[int] = Counter()
    for pool in state.pools().by_node:
        if pool.state != "total":
            continue
        if pool.pages < 0:
            notes.append(
                f"{size_label(pool.size)}: node {pool.node} is ignored: the kernel reports "
                f"{pool.pages} huge pages"
            )
            continue
        demands.append(Demand(pool.size, pool.pages, pool.node))
        by_node[pool.size] += pool.pages
    for size, pages in state.totals().items():
        rest = pages - by_node[size]
        if rest > 0:
            demands.append(Demand(size, rest, _NO_NODE))
            notes.append(
                f"{size_label(size)}: {rest:,} of {pages:,} huge pages are not reported by any node"
            )
        elif size not in by_node and pages == 0:
            demands.append(Demand(size, 0, _NO_NODE))
    if not any(demand.count for demand in demands):
        notes.insert(0, _EMPTY)
    return demands, tuple(notes)


def _struct_page(facts: Facts, options: GeometryOptions) -> tuple[int, tuple[str, ...]]:
    if options.struct_page:
        return options.struct_page, ()
    if isinstance(facts.struct_page_size, int):
        return facts.struct_page_size, ()
    return DEFAULT_STRUCT_PAGE, (
        f"assuming a struct page of {DEFAULT_STRUCT_PAGE} bytes: its size is unknown without BTF "
        "(--struct-page)",
    )


def _reserved(facts: Facts, options: GeometryOptions) -> tuple[int, tuple[str, ...]]:
    """Return 2 up to Linux 5.17 and 1 from 5.18 on, though 5.18 has the function names of v17."""
    if options.reserved:
        return options.reserved, ()
    if "free_huge_page_vmemmap" in facts.known_symbols:
        return V17_RESERVED, (
            f"assuming {V17_RESERVED} reserved vmemmap pages per huge page, as in Linux 5.14 to "
            "5.17; Linux 5.18 has 1 (--reserved 1)",
        )
    if isinstance(facts.symbols, OSError) and not facts.has_sysctl_file:
        return DEFAULT_RESERVED, (
            f"assuming {DEFAULT_RESERVED} reserved vmemmap page per huge page, as in Linux 5.18 "
            f"and later: {facts.symbols.filename} can't be read (--reserved)",
        )
    return DEFAULT_RESERVED, ()

# SPDX-License-Identifier: Apache-2.0
"""What to plan for: the machine that hvoscope runs on, or one that the user describes."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from exporter.savings.forecast import Demand, check_architecture, check_possible
from probes.geometry import EVERY_ARCHITECTURE, Geometry, size_label, vmemmap_by_pmds
from probes.kernel.host import Host
from probes.kernel.hugetlb_state import KernelState, huge_page_sizes
from probes.observation import known
from probes.preflight.facts import Facts

_ARCHITECTURE_OF = {"x86_64": "x86-64", "aarch64": "arm64"}
"""What uname calls the machine -> what the tables call it, where that is not the same."""

USUAL_STRUCT_PAGE = 64
"""sizeof(struct page) of nearly every 64-bit kernel, in bytes."""
SEED_RESERVED = 2
"""vmemmap pages that stay, from the seed to Linux 5.17."""
USUAL_RESERVED = 1
"""The same from Linux 5.18 on (commit e7d324850bfc)."""

_NO_NODE = -1
"""Where the node of a huge page is not shown."""

_EMPTY = "no huge page is allocated here: plan for some with --size and --count"


@dataclass(frozen=True)
class Given:
    """What the command line says of the geometry; None: not given."""

    architecture: str | None = None
    page_size: int | None = None
    struct_page: int | None = None
    reserved: int | None = None


@dataclass(frozen=True)
class Subject:
    """What is planned for."""

    architecture: str
    geometry: Geometry
    demands: Sequence[Demand]
    facts: Facts | None = None
    """The running kernel; None where the machine is only described."""
    notes: tuple[str, ...] = ()
    """What could not be told and is assumed instead, or is not there; a line each."""

    saved_now: int | None = None
    """Bytes that HVO saves on it already, by the kernel's own accounts; None: not known."""

    @property
    def in_batches(self) -> bool | None:
        """Whether the kernel optimises whole lists (Linux 6.7 and later); None: not known."""
        if self.facts is None or isinstance(self.facts.symbols, OSError):
            return None
        return "hugetlb_vmemmap_optimize_folios" in self.facts.symbols


def described(given: Given, demands: Sequence[Demand]) -> Subject:
    """A machine as the user describes it; what is left out is as usual.

    Raises ``ValueError`` for what no machine is.
    """
    architecture = given.architecture or "x86-64"
    geometry = Geometry(
        given.page_size or next(iter(EVERY_ARCHITECTURE[architecture])),
        given.struct_page or USUAL_STRUCT_PAGE,
        given.reserved or USUAL_RESERVED,
        vmemmap_by_pmds(architecture),
    )
    check_possible(geometry)
    check_architecture(architecture, geometry, [demand.size for demand in demands])
    return Subject(architecture, geometry, demands)


def running(host: Host, page_size: int, given: Given) -> Subject:
    """The running machine and the huge pages that it has now, node by node.

    Raises ``ValueError`` where it has no huge page sizes, or ``given`` is impossible; ``OSError``
    where they may not be listed.
    """
    sizes = huge_page_sizes(host)
    if not sizes:
        folder = host.sys / "kernel/mm/hugepages"
        gone = "" if host.sys.is_dir() else f"{host.sys} does not exist: "
        raise ValueError(f"{gone}{folder} lists no huge page size: give --size and --count")
    facts = Facts(host)
    struct_page, notes = _struct_page(facts, given)
    reserved, notes_too = _reserved(facts, given)
    architecture = _ARCHITECTURE_OF.get(host.machine, host.machine)
    geometry = Geometry(page_size, struct_page, reserved, vmemmap_by_pmds(architecture))
    if given.struct_page:
        check_possible(geometry)
    state = KernelState(host, page_size)
    demands, notes_on_pools = _demands(state)
    return Subject(
        architecture,
        geometry,
        demands,
        facts,
        (*notes_on_pools, *notes, *notes_too),
        known(state.saved_bytes(state.memmap_pages())),
    )


def _demands(state: KernelState) -> tuple[list[Demand], tuple[str, ...]]:
    """The huge pages that there are, node by node, and a line for each count that is in doubt."""
    demands, notes = [], []
    by_node: Counter[int] = Counter()
    for pool in state.pools().by_node:
        if pool.state != "total":
            continue
        if pool.pages < 0:
            notes.append(
                f"{size_label(pool.size)}: node {pool.node} is left out, as the kernel counts "
                f"{pool.pages} huge pages there"
            )
            continue
        demands.append(Demand(pool.size, pool.pages, pool.node))
        by_node[pool.size] += pool.pages
    for size, pages in state.totals().items():
        rest = pages - by_node[size]
        if rest > 0:
            demands.append(Demand(size, rest, _NO_NODE))
            notes.append(f"{size_label(size)}: no node shows {rest:,} of {pages:,} huge pages")
        elif size not in by_node and pages == 0:
            demands.append(Demand(size, 0, _NO_NODE))
    if not any(demand.count for demand in demands):
        notes.insert(0, _EMPTY)
    return demands, tuple(notes)


def _struct_page(facts: Facts, given: Given) -> tuple[int, tuple[str, ...]]:
    if given.struct_page:
        return given.struct_page, ()
    if isinstance(facts.struct_page_size, int):
        return facts.struct_page_size, ()
    return USUAL_STRUCT_PAGE, (
        f"struct page is taken to have {USUAL_STRUCT_PAGE} bytes: its size can't be told "
        "without BTF (--struct-page)",
    )


def _reserved(facts: Facts, given: Given) -> tuple[int, tuple[str, ...]]:
    """Up to 5.17 two pages stay, from 5.18 on one; both of them have the seed's functions."""
    if given.reserved:
        return given.reserved, ()
    if "free_huge_page_vmemmap" in facts.known_symbols:
        return SEED_RESERVED, (
            f"{SEED_RESERVED} vmemmap pages of each huge page are taken to stay, as in Linux 5.14 "
            "to 5.17; in 5.18 it is one (--reserved 1)",
        )
    if isinstance(facts.symbols, OSError) and not facts.has_sysctl_file:
        return USUAL_RESERVED, (
            f"{USUAL_RESERVED} vmemmap page of each huge page is taken to stay, as from Linux 5.18 "
            f"on: {facts.symbols.filename} can't be read (--reserved)",
        )
    return USUAL_RESERVED, ()

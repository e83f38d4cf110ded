# SPDX-License-Identifier: Apache-2.0
"""The running machine: its pools, its probes, and every account that its kernel keeps."""

from collections.abc import Mapping
from functools import cached_property
from mmap import PAGESIZE

from exporter.verify.accounts import NOT_READ, Accounts, Counted
from exporter.verify.hugetlb_files import HugetlbFiles
from exporter.verify.kernel_log import KernelLog
from exporter.verify.known_bugs import described
from exporter.verify.machine import HugePageSize, ImpossibleError
from exporter.verify.meminfo import accounted_bytes, read_meminfo
from exporter.verify.saved_state import Settings, put_back
from probes.backend import BackendError
from probes.baseline import dropped_hits
from probes.census.census import PoolCensus, take_census
from probes.census.facts import CensusError, facts_of
from probes.counters import Counters
from probes.geometry import KIB, Geometry
from probes.kernel.host import read_text
from probes.kernel.hugetlb_state import KernelState, huge_page_sizes
from probes.live.backend import LiveBackend
from probes.observation import PROBES, Absent
from probes.operations import Operation
from probes.preflight.facts import Facts
from probes.preflight.free_memory import sample_flags

_NO_COUNTERS = Absent("the kernel does not count memmap frames (nr_memmap_pages, Linux 6.11)")
_NOT_WANTED = Absent("--no-probes")
_TWO_RESERVED = "free_huge_page_vmemmap"  # to Linux 5.18, where the kernel has a number of its own


class RunningMachine:
    """``exporter.verify.machine.Machine`` of the running kernel."""

    def __init__(self, facts: Facts, settings: Settings, *, with_probes: bool = True) -> None:
        """Attach probes, if they are wanted and can be. ``settings`` are what is put back."""
        self._facts = facts
        self._host = facts.host
        self._settings = settings
        self._files = HugetlbFiles(facts.host)
        self._state = KernelState(facts.host)
        self._log = KernelLog()
        self._backend, self._no_probes = _attached(facts) if with_probes else (None, _NOT_WANTED)

    def close(self) -> None:
        """Detach the probes."""
        if self._backend is not None:
            self._backend.stop()
        self._log.close()

    @property
    def name(self) -> str:
        """Kernel release."""
        return self._host.release

    @property
    def page_size(self) -> int:
        """Base page size in bytes."""
        return PAGESIZE

    @property
    def has_switch(self) -> bool:
        """The sysctl (Linux 5.19)."""
        return self._facts.has_sysctl_file

    @property
    def known_bugs(self) -> Mapping[str, str] | Absent:
        """By BTF."""
        bugs = self._facts.kernel_bugs
        return bugs if isinstance(bugs, Absent) else described(bugs)

    @cached_property
    def sizes(self) -> tuple[HugePageSize, ...]:
        """Sizes of huge pages, ascending."""
        census = self._take_census()
        pools = census if not isinstance(census, Absent) else []
        net = {pool.order: pool.net_frames for pool in pools}
        return tuple(self._size(size, net) for size in huge_page_sizes(self._host))

    @property
    def never_fails(self) -> str:
        """The kernel has no fault injection."""
        return self._files.failures.problem()

    def free_bytes(self) -> int:
        """MemFree."""
        return read_meminfo(self._host)["MemFree"]

    def perform(self, operation: Operation) -> None:
        """Do it. Raises ``ImpossibleError``."""
        try:
            self._files.perform(operation)
        except OSError as error:
            raise ImpossibleError(f"{error.filename}: {error.strerror}") from error

    def read(self, *, flags: bool = False) -> Accounts:
        """Read every account now."""
        pools = self._state.pools()
        counters, trouble = self._probes()
        memmap = self._state.memmap_pages()
        return Accounts(
            pages=pools.pages("total"),
            surplus=pools.pages("surplus"),
            probes=counters,
            probe_trouble=trouble,
            census=self._counted(),
            memmap_frames=sum(memmap.values()) if memmap else _NO_COUNTERS,
            mem_total=read_meminfo(self._host)["MemTotal"],
            memory=accounted_bytes(self._host),
            stale_flags=self._stale_flags() if flags else NOT_READ,
            log=self._log.faults(),
        )

    def put_back(self) -> tuple[str, ...]:
        """Unmap, and write what differs; return what could not be put back."""
        self._files.end_use()
        return put_back(self._settings)

    def _size(self, size: int, net: Mapping[int, int | None]) -> HugePageSize:
        bytes_each = self._facts.struct_page_size
        geometry = Geometry(
            PAGESIZE, bytes_each if isinstance(bytes_each, int) else 64, reserved_pages=1
        )
        order = geometry.order(size)
        frames = net.get(order)
        if frames is None and _TWO_RESERVED not in self._facts.known_symbols:
            frames = geometry.free_vmemmap_pages_per_hpage(size)
        smaller = read_text(self._files.pool(size) / "demote_size")
        return HugePageSize(
            size,
            order,
            frames,
            geometry.vmemmap_pages(size),
            int(smaller.removesuffix("kB")) * KIB if smaller else None,
        )

    def _probes(self) -> tuple[Counters | Absent, str]:
        if self._backend is None:
            return self._no_probes, ""
        seen = self._backend.observe((PROBES,))
        if not seen.status.ready:
            return Absent(seen.status.problem), ""
        dropped = dropped_hits(seen.status)
        return seen.counters, f"{dropped} probe hits were dropped" if dropped else ""

    def _take_census(self) -> list[PoolCensus] | Absent:
        facts = self._facts
        try:
            return take_census(facts_of(facts.known_btf, facts.known_symbols), PAGESIZE)
        except CensusError as error:
            return Absent(str(error))

    def _counted(self) -> Mapping[int, Counted] | Absent:
        census = self._take_census()
        if isinstance(census, Absent):
            return census
        return {
            pool.order: Counted(
                sum(row.pages for row in pool.nodes), sum(row.optimized for row in pool.nodes)
            )
            for pool in census
        }

    def _stale_flags(self) -> int | Absent:
        size = self._facts.struct_page_size
        if not isinstance(size, int):
            return Absent("the size of struct page is not known without BTF")
        try:
            return sample_flags(self._host.proc, PAGESIZE // size).stale
        except OSError as error:
            return Absent(f"{self._host.proc}/kpageflags can't be read ({error.strerror})")


def _attached(facts: Facts) -> tuple[LiveBackend | None, Absent]:
    backend = LiveBackend(facts.host, cache=facts.cache)
    try:
        backend.start()
    except BackendError as error:
        return None, Absent(str(error))
    return backend, Absent("")


def in_use(facts: Facts) -> str:
    """Which pools have pages in use or reserved, one line; empty if none has."""
    pools = KernelState(facts.host).pools()
    used = pools.pages("total")
    used.subtract(pools.pages("free"))
    used.update({size: pages for size, pages in pools.reserved.items() if pages > 0})
    found = [f"{pages} of {size // KIB} KiB" for size, pages in sorted(used.items()) if pages > 0]
    return ", ".join(found)

# SPDX-License-Identifier: Apache-2.0
"""Operations on the running kernel's pools and switch, by their files in /proc and /sys."""

import mmap
from collections.abc import Callable
from pathlib import Path

from exporter.verify.fault_injection import AllocationFailures
from exporter.verify.machine import ImpossibleError
from probes.geometry import KIB
from probes.kernel.host import Host
from probes.operations import Operation

_TRIES, _TRIES_WITHOUT_CACHES = 3, 10
_MAP_HUGETLB, _MAP_HUGE_SHIFT = 0x40000, 26
"""include/uapi/asm-generic/mman-common.h and hugetlb_encode.h; Python has no names for them."""


def map_huge_pages(size: int, pages: int, *, populate: bool = False, flags: int = 0) -> mmap.mmap:
    """Map private huge pages of ``size`` bytes; ``populate``: get them now. Raises ``OSError``.

    A page that can't be got by ``populate`` is left out, and a touch of it is a SIGBUS.
    """
    flags |= mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | (mmap.MAP_POPULATE if populate else 0)
    flags |= _MAP_HUGETLB | (size.bit_length() - 1) << _MAP_HUGE_SHIFT
    return mmap.mmap(-1, pages * size, flags=flags)


class HugetlbFiles:
    """The files of ``host``, and the pages that are mapped here."""

    def __init__(self, host: Host, *, drop_caches: bool = False) -> None:
        """``drop_caches``: to find memory for a pool, also drop what the kernel has cached."""
        self._host = host
        self._drop_caches = drop_caches
        self.failures = AllocationFailures(host)
        self._not_restored: set[int] = set()
        """Sizes whose pages ``_fail_to_shrink`` has left as surplus."""
        self._mapped: dict[int, tuple[mmap.mmap, int]] = {}
        """By size, the mapped pages, and how many the pool had before."""

    @property
    def switch(self) -> Path:
        """The file of the switch (Linux 5.19)."""
        return self._host.proc / "sys/vm/hugetlb_optimize_vmemmap"

    def pool(self, size: int) -> Path:
        """The folder of the pool of huge pages of ``size`` bytes."""
        return self._host.sys / f"kernel/mm/hugepages/hugepages-{size // KIB}kB"

    def perform(self, operation: Operation) -> None:
        """Do it. Raises ``ImpossibleError`` if there is no memory, ``OSError`` for a file."""
        size, pages = operation.size, operation.pages
        verbs: dict[str, Callable[[], object]] = {
            "hvo": lambda: self.switch.write_text("1" if operation.on else "0"),
            "grow": lambda: self._resize_by(size, pages),
            "shrink": lambda: self._shrink(size, pages),
            "fail to shrink": lambda: self._fail_to_shrink(size, pages),
            "demote": lambda: (self.pool(size) / "demote").write_text(str(pages)),
            "overcommit": lambda: self._overcommit(size, pages),
            "use": lambda: self._use(size, pages),
            "end use": lambda: self.end_use(size),
        }
        verbs[operation.verb]()

    def end_use(self, size: int | None = None) -> None:
        """Unmap pages of one size, or of all, and wait until the kernel has freed surplus.

        A kworker restores and frees them after the last unmap. A write to nr_hugepages waits for it
        (flush_free_hpage_work in set_max_huge_pages, Linux 5.14).
        """
        for one in [size] if size is not None else list(self._mapped):
            memory, pages = self._mapped.pop(one)
            memory.close()
            (self.pool(one) / "nr_hugepages").write_text(str(pages))

    def _shrink(self, size: int, pages: int) -> None:
        if size in self._not_restored:
            count = self.pool(size) / "nr_hugepages"
            count.write_text(count.read_text())  # surplus becomes the pool's own
            self._not_restored.remove(size)
        self._resize_by(size, -pages)

    def _fail_to_shrink(self, size: int, pages: int) -> None:
        """Shrink while this task's allocations fail: what can't be restored stays, as surplus."""
        count = self.pool(size) / "nr_hugepages"
        self._not_restored.add(size)
        self.failures.write(count, str(_number(count) - pages))

    def _resize_by(self, size: int, change: int) -> None:
        self._resize(size, _number(self.pool(size) / "nr_hugepages") + change)

    def _resize(self, size: int, pages: int) -> None:
        count = self.pool(size) / "nr_hugepages"
        for _ in range(_TRIES_WITHOUT_CACHES if self._drop_caches else _TRIES):
            count.write_text(str(pages))
            found = _number(count)
            if found == pages:
                return
            if self._drop_caches:
                (self._host.proc / "sys/vm/drop_caches").write_text("1")
        raise ImpossibleError(f"no memory: {count} is {found} after {pages} was written")

    def _overcommit(self, size: int, pages: int) -> None:
        """Use pages beyond an empty pool, and end that."""
        limit = self.pool(size) / "nr_overcommit_hugepages"
        before = limit.read_text()
        try:
            self._use(size, pages)
            self.end_use(size)
        finally:
            limit.write_text(before)

    def _use(self, size: int, pages: int) -> None:
        """Map pages that the pool does not have. The map allocates them: it reserves them, and the
        pool has none; a fault that finds none would be a SIGBUS, so no page is touched here."""
        before = _number(self.pool(size) / "nr_hugepages")
        limit = self.pool(size) / "nr_overcommit_hugepages"
        limit.write_text(str(_number(self.pool(size) / "surplus_hugepages") + pages))
        try:
            memory = map_huge_pages(size, pages, populate=True)
        except OSError as error:
            raise ImpossibleError(f"{pages} pages can't be mapped: {error.strerror}") from error
        self._mapped[size] = memory, before


def _number(path: Path) -> int:
    return int(path.read_text())

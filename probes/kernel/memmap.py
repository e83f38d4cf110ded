# SPDX-License-Identifier: Apache-2.0
"""Memory that HVO saves on the whole machine, from the kernel's own counters: no probes, no root.

Memory consists of sections (mm/sparse.c). A section that is present, even in part, has a struct
page for each of its frames. Since Linux 6.11, nr_memmap_boot_pages and nr_memmap_pages of
/proc/vmstat count the frames of these struct pages. The saving is the number of frames that the
struct pages would take without HVO, minus these counters.

Included: every optimized huge page, independent of its user and of when it was allocated.
Not included, because the kernel does not count them: page tables from splitting the vmemmap (at
most one frame per 128 MB), and since 7.1 the frames that all tail pages share (one per zone and
size).

The saving is absent, with the reason, in these cases:

- BTF does not have the size of struct page, or the kernel has no memory hotplug and lists no memory
  blocks in /sys;
- device memory (ZONE_DEVICE): it has struct pages, but no memory blocks;
- page_ext tables (page_owner=on and others): the kernel adds them to nr_memmap_pages;
- memory blocks of several sections have holes, and the firmware's memory map does not show them;
- the sum of both counters, or the pages of a zone, is negative, so the kernel's accounting is wrong
  (one of the two counters alone may be negative);
- the saving would be negative: boot memory was removed (the kernel did not subtract it until 6.18),
  or a list of huge pages is being optimized and its new head pages are already allocated.
"""

import re
from collections.abc import Callable, Iterator, Mapping

from probes.geometry import MIB
from probes.kernel.host import Host, parse_count, read_number, read_text
from probes.observation import Absent

_SECTION_BITS: Mapping[str, int] = {
    "x86_64": 27,
    "aarch64": 27,
    "riscv64": 27,
    "s390x": 28,
    "loongarch64": 29,
}
"""SECTION_SIZE_BITS of arch/*/include/asm/sparsemem.h, for base pages up to 16 KB."""

_SECTION_BITS_64K_PAGES = 29
_PAGE_EXT_BYTES = 8
"""Minimum size of page_ext per page."""

_FIRST_MIB = range(MIB)
"""The kernel does not use all that the firmware offers here (trim_bios_range of arch/x86)."""

_ZONE_LINE = re.compile(r"^Node \d+, zone +(\w+)$|^ +(spanned|present) +(\d+)$", re.MULTILINE)


STRUCTS = ("page", "page_ext")
"""Structs whose sizes ``MemmapSavings`` needs."""


class _NotKnownError(Exception):
    """The saving can't be computed; the message is the reason."""


class MemmapSavings:
    """Computes how much memmap HVO saves on ``host``, whose base pages have ``page_size`` bytes."""

    def __init__(
        self, host: Host, page_size: int, struct_sizes: Callable[[], Mapping[str, int]]
    ) -> None:
        """Read nothing yet. ``struct_sizes`` returns bytes of those ``STRUCTS`` that BTF has."""
        self._host = host
        self._page_size = page_size
        self._struct_sizes = struct_sizes

    def saved_bytes(self, accounted: Mapping[str, int]) -> int | Absent:
        """Bytes saved, given the counters ``accounted`` (``KernelState.memmap_pages``).

        Raises ``ValueError`` for a malformed file.
        """
        try:
            return self._saved_bytes(accounted)
        except _NotKnownError as error:
            return Absent(str(error))

    def _saved_bytes(self, accounted: Mapping[str, int]) -> int:
        if set(accounted) != {"boot", "runtime"}:
            raise _NotKnownError(
                "the kernel does not count memmap frames (nr_memmap_pages, Linux 6.11)"
            )
        present = self._present_pages()
        if self._may_have_page_ext(accounted["runtime"], present):
            raise _NotKnownError(
                "nr_memmap_pages may include page_ext tables (page_owner=on and others)"
            )
        size = self._sizes.get("page")
        if size is None:
            raise _NotKnownError("the kernel's BTF does not have the size of struct page")
        sections = self._sections(present)
        frames_per_section = -(-self._section_pages * size // self._page_size)
        taken = sum(accounted.values())
        saved = sections * frames_per_section - taken
        if taken < 0 or saved < 0:
            raise _NotKnownError(
                f"the kernel counts {taken} memmap frames (expected 0 to "
                f"{sections * frames_per_section})"
            )
        return saved * self._page_size

    @property
    def _sizes(self) -> Mapping[str, int]:
        return self._struct_sizes()

    def _may_have_page_ext(self, runtime: int, present: int) -> bool:
        """False if the counter is too small to include page_ext, or the struct does not exist."""
        least = present * _PAGE_EXT_BYTES // self._page_size
        return runtime >= least and "page_ext" in self._sizes

    @property
    def _section_pages(self) -> int:
        bits = _SECTION_BITS.get(self._host.machine, 0)
        if bits and self._page_size == 1 << 16:
            bits = _SECTION_BITS_64K_PAGES
        return (1 << bits) // self._page_size

    def _sections(self, present: int) -> int:
        """Number of sections that have struct pages."""
        memory = self._host.sys / "devices/system/memory"
        block = read_number(memory / "block_size_bytes", 16)
        blocks = sum(1 for _ in memory.glob("memory[0-9]*"))
        section = self._section_pages * self._page_size
        if not section or not block or not blocks or block % section:
            raise _NotKnownError(f"{memory} does not show which memory sections are present")
        sections = blocks * (block // section)
        if block == section or sections - 1 < present / self._section_pages:
            return sections  # too few pages are missing for a hole of a whole section
        return self._sections_of_firmware(present)

    def _sections_of_firmware(self, present: int) -> int:
        """Number of sections with memory in the firmware's map, if the kernel uses all of it."""
        pages, touched = 0, set[int]()
        for start, end in self._firmware_memory():
            first, last = -(-start // self._page_size), end // self._page_size
            pages += max(0, last - first)
            touched.update(range(first // self._section_pages, -(-last // self._section_pages)))
        trimmed = pages - present
        if not 0 <= trimmed <= len(_FIRST_MIB) // self._page_size:
            raise _NotKnownError(
                "memory blocks have holes that the firmware's memory map does not show"
            )
        return len(touched)

    def _firmware_memory(self) -> Iterator[tuple[int, int]]:
        """Start and end of each RAM range in bytes (/sys/firmware/memmap; x86)."""
        for entry in (self._host.sys / "firmware/memmap").glob("[0-9]*"):
            start, last = read_number(entry / "start", 16), read_number(entry / "end", 16)
            if read_text(entry / "type") == "System RAM" and start is not None and last is not None:
                yield start, last + 1

    def _present_pages(self) -> int:
        """Present pages of all zones (/proc/zoneinfo), none of which may be device memory."""
        path = self._host.proc / "zoneinfo"
        text = read_text(path)
        if text is None:
            raise _NotKnownError(f"{path} can't be read")
        present = device_spanned = 0
        zone = ""
        for name, what, pages in _ZONE_LINE.findall(text):
            if name:
                zone = name
                continue
            try:
                count = parse_count(pages)
            except ValueError as error:
                raise ValueError(f"{path}: {error}") from None
            if count < 0:
                raise _NotKnownError(f"{path} counts {count} pages (expected 0 or more)")
            if what == "present":
                present += count
            elif zone == "Device":
                device_spanned += count
        if not present:
            raise _NotKnownError(f"{path} lists no present pages")
        if device_spanned:
            raise _NotKnownError("struct pages of device memory can't be distinguished")
        return present

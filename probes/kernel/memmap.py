# SPDX-License-Identifier: Apache-2.0
"""Memory that HVO saves on the whole machine, by the kernel's own accounts: no probe, no root.

Memory comes in sections (mm/sparse.c). One that is there, be it in part, has a struct page for each
of its frames, and from Linux 6.11 on nr_memmap_boot_pages and nr_memmap_pages of /proc/vmstat are
the frames that these take. What they would take without HVO, less that, is what HVO saves.

Counted: every optimised huge page, whoever allocated it and when, at boot too.
Not counted, as the kernel does not: page tables that splitting the vmemmap took (at most a frame
for each 128 MB), and from 7.1 on the frames that all tails share (one per zone and size).

Not known, and then absent rather than wrong:

- a kernel that does not say how large a struct page is (BTF), or without memory hotplug, whose
  /sys lists no memory blocks;
- device memory (ZONE_DEVICE), which has struct pages, but no blocks that could be counted;
- page_ext tables (page_owner=on and the like), which the kernel adds to nr_memmap_pages;
- blocks of many sections with holes, unless the firmware's map of memory tells which are there;
- memory that takes less than no frames, or zones with less than no pages: the kernel then counted
  wrong (one of the two counters alone may be below zero: their sum is what counts);
- less than nothing: boot-time memory was taken out (the kernel forgot to subtract it until 6.18),
  or a list of huge pages is just being optimised, and its new heads are there already.
"""

import re
from collections.abc import Iterator, Mapping
from functools import cached_property

from probes.geometry import MIB
from probes.kernel.btf import struct_sizes
from probes.kernel.host import Host, parse_count, read_number, read_text
from probes.observation import Absent

_SECTION_BITS: Mapping[str, int] = {
    "x86_64": 27,
    "aarch64": 27,
    "riscv64": 27,
    "s390x": 28,
    "loongarch64": 29,
}
"""SECTION_SIZE_BITS of arch/*/include/asm/sparsemem.h, where HVO can be, with pages up to 16 KB."""

_SECTION_BITS_64K_PAGES = 29
_PAGE_EXT_BYTES = 8
"""The least that page_ext takes for a page."""

_FIRST_MIB = range(MIB)
"""Here the kernel takes less than the firmware offers (trim_bios_range of arch/x86)."""

_ZONE_LINE = re.compile(r"^Node \d+, zone +(\w+)$|^ +(spanned|present) +(\d+)$", re.MULTILINE)


STRUCTS = ("page", "page_ext")
"""What ``MemmapSavings`` wants of BTF."""


class _NotKnownError(Exception):
    """What is saved can't be known; the message says why."""


class MemmapSavings:
    """What HVO saves of the memmap of ``host``, whose base pages have ``page_size`` bytes."""

    def __init__(self, host: Host, page_size: int) -> None:
        """Nothing is read before it is asked for."""
        self._host = host
        self._page_size = page_size

    def saved_bytes(self, accounted: Mapping[str, int]) -> int | Absent:
        """Bytes saved when ``accounted`` (``KernelState.memmap_pages``) holds.

        Raises ``ValueError`` for a file that has changed its shape.
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
                "page_ext tables (page_owner=on and the like) are counted as struct pages"
            )
        size = self._sizes.get("page")
        if size is None:
            raise _NotKnownError("the kernel's BTF does not tell the size of struct page")
        sections = self._sections(present)
        frames_per_section = -(-self._section_pages * size // self._page_size)
        taken = sum(accounted.values())
        saved = sections * frames_per_section - taken
        if taken < 0 or saved < 0:
            raise _NotKnownError(f"the kernel counts {taken} frames of struct pages: impossible")
        return saved * self._page_size

    @cached_property
    def _sizes(self) -> Mapping[str, int]:
        return struct_sizes(self._host.sys / "kernel/btf/vmlinux", STRUCTS)

    def _may_have_page_ext(self, runtime: int, present: int) -> bool:
        """False where there is too little for it, or no such struct: then there is none."""
        least = present * _PAGE_EXT_BYTES // self._page_size
        return runtime >= least and "page_ext" in self._sizes

    @property
    def _section_pages(self) -> int:
        bits = _SECTION_BITS.get(self._host.machine, 0)
        if bits and self._page_size == 1 << 16:
            bits = _SECTION_BITS_64K_PAGES
        return (1 << bits) // self._page_size

    def _sections(self, present: int) -> int:
        """How many sections have struct pages."""
        memory = self._host.sys / "devices/system/memory"
        block = read_number(memory / "block_size_bytes", 16)
        blocks = sum(1 for _ in memory.glob("memory[0-9]*"))
        section = self._section_pages * self._page_size
        if not section or not block or not blocks or block % section:
            raise _NotKnownError(f"{memory} does not tell which sections of memory there are")
        sections = blocks * (block // section)
        if block == section or sections - 1 < present / self._section_pages:
            return sections  # no block has room for a hole as large as a section
        return self._sections_of_firmware(present)

    def _sections_of_firmware(self, present: int) -> int:
        """Sections that the firmware's memory touches, if the kernel uses just that memory."""
        pages, touched = 0, set[int]()
        for start, end in self._firmware_memory():
            first, last = -(-start // self._page_size), end // self._page_size
            pages += max(0, last - first)
            touched.update(range(first // self._section_pages, -(-last // self._section_pages)))
        trimmed = pages - present
        if not 0 <= trimmed <= len(_FIRST_MIB) // self._page_size:
            raise _NotKnownError(
                "blocks of memory have holes that the firmware's map does not show"
            )
        return len(touched)

    def _firmware_memory(self) -> Iterator[tuple[int, int]]:
        """Start and end of each range of RAM, in bytes (/sys/firmware/memmap; x86)."""
        for entry in (self._host.sys / "firmware/memmap").glob("[0-9]*"):
            start, last = read_number(entry / "start", 16), read_number(entry / "end", 16)
            if read_text(entry / "type") == "System RAM" and start is not None and last is not None:
                yield start, last + 1

    def _present_pages(self) -> int:
        """Of all zones, none of which is device memory (/proc/zoneinfo)."""
        path = self._host.proc / "zoneinfo"
        text = read_text(path)
        if text is None:
            raise _NotKnownError(f"there is no {path}")
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
                raise _NotKnownError(f"{path} counts {count} pages: impossible")
            if what == "present":
                present += count
            elif zone == "Device":
                device_spanned += count
        if not present:
            raise _NotKnownError(f"{path} does not tell how much memory there is")
        if device_spanned:
            raise _NotKnownError("device memory has struct pages that can't be told apart")
        return present

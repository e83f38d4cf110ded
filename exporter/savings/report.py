# SPDX-License-Identifier: Apache-2.0
"""Print a plan: a page of text for people, one JSON object for programs."""

import json
import textwrap
from collections.abc import Iterable, Iterator, Sequence

from exporter import units
from exporter.savings import advice
from exporter.savings.forecast import Saving
from exporter.savings.machine import Subject
from exporter.savings.slowdown import Figure, figures_for
from probes.geometry import size_label

_ROW = "{:>6} {:>9} {:>14} {:>11} {:>13} {:>7} {:>12}"
_HEADER = _ROW.format(
    "SIZE", "COUNT", "VMEMMAP PAGES", "FREED EACH", "FRAMES FREED", "TABLES", "NET SAVED"
)
_FIGURE_ROW = "{:>6} {:<8}  {:<6} {:>7} {:>9} {:>9}  {}"
_WIDTH = 80


def to_json(subject: Subject, savings: Sequence[Saving]) -> str:
    """One object: totals, the list ``sizes``, and with one size its figures at the top as well."""
    sizes = [_size_object(saving) for saving in savings]
    only = sizes[0] if len(sizes) == 1 else {}
    return json.dumps(
        {
            "architecture": subject.architecture,
            "page_size": subject.geometry.page_size,
            "struct_page_size": subject.geometry.struct_page_size,
            "reserved_pages": subject.geometry.reserved_pages,
            **only,
            **_totals(savings),
            "bytes_saved_now": subject.saved_now,
            "sizes": sizes,
            "slowdown": [
                figure._asdict() | {"size": size_label(figure.size)}
                for figure in _figures(subject, savings)
            ],
            "switch": advice.switch(subject, savings),
            "warnings": advice.warnings(subject, savings),
            "notes": subject.notes,
        }
    )


def to_text(subject: Subject, savings: Sequence[Saving]) -> str:
    """A table of sizes, then what it costs, how to switch it on, and what to know before."""
    lines = [
        _title(subject),
        *(f"  {line}" for line in subject.notes),
        "",
        _HEADER,
        *map(_row, savings),
        *_sum(savings),
        *_tables_note(subject, savings),
        *_saved_now(subject),
    ]
    lines += _section("Published timings, without HVO and with it", _slowdown(subject, savings))
    lines += _section("To switch it on", advice.switch(subject, savings))
    lines += _section("Before you do", advice.warnings(subject, savings))
    return "\n".join(lines)


def _size_object(saving: Saving) -> dict[str, object]:
    return {
        "size": size_label(saving.size),
        "count": saving.count,
        "vmemmap_pages_per_page": saving.vmemmap_pages_per_page,
        "frames_freed_per_page": saving.frames_freed_per_page,
        "frames_freed": saving.frames_freed,
        "bytes_saved": saving.bytes_saved,
        "page_table_frames": saving.page_table_frames,
        "page_table_frames_most": saving.page_table_frames_most,
        "net_bytes_saved": saving.net_bytes_saved,
        "reason": saving.reason,
    }


def _totals(savings: Sequence[Saving]) -> dict[str, int]:
    return {
        "frames_freed": sum(saving.frames_freed for saving in savings),
        "bytes_saved": sum(saving.bytes_saved for saving in savings),
        "page_table_frames": sum(saving.page_table_frames for saving in savings),
        "page_table_frames_most": sum(saving.page_table_frames_most for saving in savings),
        "net_bytes_saved": sum(saving.net_bytes_saved for saving in savings),
    }


def _title(subject: Subject) -> str:
    geometry = subject.geometry
    stay = geometry.reserved_pages
    whose = f"Linux {subject.facts.host.release}, " if subject.facts else ""
    return (
        f"{whose}{subject.architecture}, {size_label(geometry.page_size)} pages, struct page of "
        f"{geometry.struct_page_size} bytes, {stay} vmemmap page{'s' if stay > 1 else ''} of each "
        f"huge page stay{'' if stay > 1 else 's'}"
    )


def _row(saving: Saving) -> str:
    label = size_label(saving.size)
    if saving.reason:
        return f"{label:>6} {saving.count:>9} nothing to save: {saving.reason}"
    return _ROW.format(
        label,
        saving.count,
        saving.vmemmap_pages_per_page,
        saving.frames_freed_per_page,
        saving.frames_freed,
        saving.page_table_frames,
        units.memory(saving.net_bytes_saved),
    )


def _sum(savings: Sequence[Saving]) -> Iterator[str]:
    if len(savings) > 1:
        totals = _totals(savings)
        yield _ROW.format(
            "total",
            *("", "", ""),
            totals["frames_freed"],
            totals["page_table_frames"],
            units.memory(totals["net_bytes_saved"]),
        )


def _tables_note(subject: Subject, savings: Sequence[Saving]) -> list[str]:
    geometry = subject.geometry
    if not any(saving.frames_freed for saving in savings):
        return []
    if not geometry.maps_vmemmap_with_pmds:
        return _wrapped(
            f"TABLES: with {size_label(geometry.page_size)} pages the kernel maps struct pages "
            "page by page, so that no mapping has to be split.",
            "",
        )
    spans = geometry.pmd_size // geometry.struct_page_size * geometry.page_size
    totals = _totals(savings)
    return _wrapped(
        f"TABLES: page-table pages taken for good, one for each {size_label(spans)} of memory with "
        f"a huge page in it: {totals['page_table_frames']} at least, "
        f"{totals['page_table_frames_most']} if no two pages lie together.",
        "",
    )


def _saved_now(subject: Subject) -> Iterator[str]:
    """What of it is so already; page tables are not in it, as the kernel does not count them."""
    if subject.saved_now:
        yield f"Saved already, by the kernel's own accounts: {units.memory(subject.saved_now)}"


def _figures(subject: Subject, savings: Sequence[Saving]) -> list[Figure]:
    return [
        figure
        for saving in savings
        if saving.frames_freed_per_page
        for figure in figures_for(saving.size, subject.geometry.page_size, subject.in_batches)
    ]


def _slowdown(subject: Subject, savings: Sequence[Saving]) -> Iterator[str]:
    """Published figures, and who measured them."""
    figures = _figures(subject, savings)
    sources = list(dict.fromkeys(figure.source for figure in figures))
    if figures:
        yield _FIGURE_ROW.format("SIZE", "TO", "LINUX", "PAGES", "WITHOUT", "WITH", "SOURCE")
    for figure in figures:
        yield _FIGURE_ROW.format(
            size_label(figure.size),
            figure.what,
            figure.kernels,
            figure.pages,
            f"{figure.off_seconds:g} s",
            f"{figure.on_seconds:g} s",
            f"[{sources.index(figure.source) + 1}]",
        )
    for number, source in enumerate(sources, 1):
        yield f"[{number}] {source}"
    timed = {figure.size for figure in figures if figure.what in ("allocate", "free")}
    for saving in savings:
        if saving.frames_freed_per_page and saving.size not in timed:
            label = size_label(saving.size)
            yield f"{label}: no time to allocate or free one is published; serve and top show it"


def _section(title: str, items: Iterable[str]) -> Iterator[str]:
    lines = [line for item in items for line in _wrapped(item, "  ")]
    if lines:
        yield from ("", title, *lines)


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=indent,
        subsequent_indent=indent + ("  " if indent else ""),
        break_long_words=False,
        break_on_hyphens=False,
    )

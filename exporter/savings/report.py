# SPDX-License-Identifier: Apache-2.0
"""Format a plan: text for people, one JSON object for programs."""

import json
import textwrap
from collections.abc import Iterable, Iterator, Sequence

from exporter import units
from exporter.savings import advice
from exporter.savings.forecast import Saving
from exporter.savings.machine import Target
from exporter.savings.slowdown import Figure, figures_for
from probes.geometry import size_label

_ROW = "{:>6} {:>9} {:>14} {:>11} {:>13} {:>7} {:>12}"
_HEADER = _ROW.format(
    "SIZE", "COUNT", "VMEMMAP PAGES", "FREED EACH", "FRAMES FREED", "TABLES", "NET SAVED"
)
_FIGURE_ROW = "{:>6} {:<8}  {:<6} {:>7} {:>9} {:>9}  {}"
_WIDTH = 80


def to_json(target: Target, savings: Sequence[Saving]) -> str:
    """Return one object: totals and the list ``sizes``; a single size is also at the top level."""
    sizes = [_size_object(saving) for saving in savings]
    only = sizes[0] if len(sizes) == 1 else {}
    return json.dumps(
        {
            "architecture": target.architecture,
            "page_size": target.geometry.page_size,
            "struct_page_size": target.geometry.struct_page_size,
            "reserved_pages": target.geometry.reserved_pages,
            **only,
            **_totals(savings),
            "bytes_saved_now": target.saved_now,
            "sizes": sizes,
            "slowdown": [
                figure._asdict() | {"size": size_label(figure.size)}
                for figure in _figures(target, savings)
            ],
            "switch": advice.switch(target, savings),
            "warnings": advice.warnings(target, savings),
            "notes": target.notes,
        }
    )


def to_text(target: Target, savings: Sequence[Saving]) -> str:
    """Return a table of sizes, published timings, settings and caveats."""
    lines = [
        _title(target),
        *(f"  {line}" for line in target.notes),
        "",
        _HEADER,
        *map(_row, savings),
        *_sum(savings),
        *_tables_note(target, savings),
        *_saved_now(target),
    ]
    lines += _section("Published timings, without HVO and with it", _slowdown(target, savings))
    lines += _section("Enabling HVO", advice.switch(target, savings))
    lines += _section("Caveats", advice.warnings(target, savings))
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


def _title(target: Target) -> str:
    geometry = target.geometry
    reserved = geometry.reserved_pages
    release = f"Linux {target.facts.host.release}, " if target.facts else ""
    return (
        f"{release}{target.architecture}, {size_label(geometry.page_size)} pages, struct page of "
        f"{geometry.struct_page_size} bytes, {reserved} reserved vmemmap page"
        f"{'s' if reserved > 1 else ''} per huge page"
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


def _tables_note(target: Target, savings: Sequence[Saving]) -> list[str]:
    geometry = target.geometry
    if not any(saving.frames_freed for saving in savings):
        return []
    if not geometry.maps_vmemmap_with_pmds:
        return _wrapped(
            f"TABLES: with {size_label(geometry.page_size)} pages the kernel maps struct pages "
            "by PTEs, so no mapping is split.",
            "",
        )
    spans = geometry.pmd_size // geometry.struct_page_size * geometry.page_size
    totals = _totals(savings)
    return _wrapped(
        f"TABLES: page tables allocated permanently, one per {size_label(spans)} of memory that "
        f"holds a huge page: at least {totals['page_table_frames']}, at most "
        f"{totals['page_table_frames_most']}.",
        "",
    )


def _saved_now(target: Target) -> Iterator[str]:
    """Yield what HVO saves now, without page tables, which the kernel does not count."""
    if target.saved_now:
        yield f"Already saved, by {target.saved_by}: {units.memory(target.saved_now)}"


def _figures(target: Target, savings: Sequence[Saving]) -> list[Figure]:
    return [
        figure
        for saving in savings
        if saving.frames_freed_per_page
        for figure in figures_for(saving.size, target.geometry.page_size, target.in_batches)
    ]


def _slowdown(target: Target, savings: Sequence[Saving]) -> Iterator[str]:
    """Yield published figures and their sources."""
    figures = _figures(target, savings)
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
            yield f"{label}: no published allocate or free timings; serve and top measure them"


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

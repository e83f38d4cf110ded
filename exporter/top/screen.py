# SPDX-License-Identifier: Apache-2.0
"""Draw the screen as lines of text that fit its width and height."""

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from rich.text import Text

from exporter import units
from exporter.top import rows
from exporter.top.history import History
from exporter.top.spark import sparkline
from probes.backend import Info
from probes.geometry import size_label
from probes.observation import Memmap, Status, known

WIDTH, HEIGHT = 80, 24
"""Columns and lines that fit a machine with two nodes and two huge page sizes."""

_LABEL, _NUMBER, _PERCENTILE = 13, 7, 6
_LATENCY = 14 + 3 * (_PERCENTILE + 1)
_GAP = 3
_LATENCY_WIDE = 9
_POOL = "{:>5} {:>4} {:>7} {:>7} {:>7} {:>9} {:>7} {:>6} {:>9} {:>9}"
_POOL_HEADER = _POOL.format(
    *("SIZE", "NODE", "TOTAL", "FREE", "SURPLUS", "OPTIMIZED", "/S", "FAILED", "SAVED", "POSSIBLE")
)
_PROBE = "{:<12} {:<10} {:>6}  {}"
_PROBLEM_LINES = 4
_MIN_WIDTH = 40
_HEAD = "bold reverse"
_BADGE = "bold white on dark_magenta"
_DIM = "dim"
_BAD = "bold red"


@dataclass(frozen=True)
class View:
    """Display settings chosen by the user."""

    interval: float = 1.0
    """Sampling interval in seconds."""
    sort: str = "size"
    """One of ``rows.SORTS``."""
    reverse: bool = False
    paused: bool = False
    minute: bool = False
    """Latencies of the last minute, instead of since the source started."""
    plain: bool = False
    """ASCII characters only."""


def draw(history: History, info: Info, view: View, width: int, height: int) -> list[Text]:
    """Return the screen: exactly ``height`` lines, none wider than ``width``."""
    status = history.last.status
    lines = [
        _title(history, info, view, width),
        _saved(history, info, width, view),
        _health(status, known(history.last.drift)),
        *_problem(status, width),
        Text(),
        *_flows_and_latencies(history, info, view, width),
        _failures(history),
        Text(),
        Text(_POOL_HEADER, _HEAD),
    ]
    lines += _pools(history, info, view, height - len(lines) - 1)
    lines += _probes(status, height - len(lines) - 1)
    lines = lines[: height - 1]
    lines += [Text()] * (height - 1 - len(lines))
    lines.append(_keys(view))
    for line in lines:
        line.truncate(width, overflow="ellipsis")
    return lines


def _title(history: History, info: Info, view: View, width: int) -> Text:
    line = Text("hvoscope top", "bold")
    if info.backend not in ("bcc", "sim"):
        line.append("   ").append(f" {info.backend.upper()} ", _BADGE)
    if info.mode == "simulated":
        line.append("   ").append(f" SIMULATED kernel {info.kernel} ", _BADGE)
    if view.paused:
        line.append("   ").append(" PAUSED ", "bold black on yellow")
    seconds = int(history.seconds)
    line.append(f"   {seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}")
    more = [f"every {view.interval:g} s"]
    if info.mode != "simulated":
        more.append(f"Linux {info.kernel}")
    for text in more:
        if line.cell_len + 3 + len(text) <= width:
            line.append(f"   {text}", _DIM)
    return line


def _saved(history: History, info: Info, width: int, view: View) -> Text:
    """Return memory saved now and since the source started, with a trend."""
    last = history.last
    since = rows.saved_bytes(last, info)
    memmap = last.memmap if isinstance(last.memmap, Memmap) else None
    line = Text("saved ").append(units.memory(rows.saved_now(last, info)), "bold green")
    line.append("   since start ").append(units.memory(since), "bold green")
    used = sum(memmap.pages.values()) * info.page_size if memmap and memmap.pages else None
    line.append("   memmap ").append(units.memory(used), "bold")
    switch = {True: "on", False: "off", None: units.UNKNOWN}[known(last.switch)]
    line.append("   HVO ").append(switch, "bold").append("   ")
    trend = [rows.saved_bytes(one, info) for one in history.observations]
    bars = sparkline(trend, width - line.cell_len, ascii_only=view.plain)
    return line.append(bars, "green")


def _health(status: Status, drift: int | None) -> Text:
    """Return one line on data quality: probes, missed hits, lost events, drift."""
    attached = sum(probe.attached for probe in status.probes)
    line = Text("probes ")
    line.append(f"{attached} of {len(status.probes)}", "bold" if status.ready else _BAD)
    for name, counts in (
        ("missed", status.missed),
        ("lost", status.lost),
        ("map errors", status.map_errors),
    ):
        number = sum(counts.values()) if counts else None
        line.append(f"   {name} ").append(units.count(number), _BAD if number else "bold")
    line.append("   drift ").append(units.count(drift), _BAD if drift else "bold")
    return line


def _problem(status: Status, width: int) -> Iterator[Text]:
    """Yield why the source is not ready, shortened if it is long."""
    if status.problem:
        wrapped = textwrap.wrap(
            f"not ready: {status.problem}",
            max(width, _MIN_WIDTH),
            max_lines=_PROBLEM_LINES,
            break_on_hyphens=False,
            placeholder=" ... (see hvoscope check)",
        )
        yield from (Text(line, _BAD) for line in wrapped)


def _probes(status: Status, room: int) -> list[Text]:
    """Return one line per probe if all fit."""
    if len(status.probes) + 2 > room:
        return []
    lines = [Text(), Text(_PROBE.format("STEP", "ATTACHED", "MISSED", "FUNCTION"), _HEAD)]
    for probe in status.probes:
        missed = units.count(status.missed.get(probe.step))
        where = probe.symbol if probe.attached else probe.reason
        row = _PROBE.format(probe.step, probe.attach or "no", missed, where)
        lines.append(Text(row, "" if probe.attached else _BAD))
    return lines


def _flows_and_latencies(history: History, info: Info, view: View, width: int) -> Iterator[Text]:
    """Yield rates and latencies side by side."""
    wide = width >= WIDTH + _LATENCY_WIDE + 10
    right_width = _LATENCY + (_LATENCY_WIDE if wide else 0)
    left_width = max(0, width - right_width - _GAP)
    left = _flows(history, view, left_width)
    right = _latencies(history, info, view, wide)
    for number, (flow, latency) in enumerate(zip_longest(left, right, fillvalue="")):
        style = _HEAD if number == 0 else ""
        yield Text(f"{flow:<{left_width}}{' ' * _GAP}{latency:<{right_width}}", style)


def _flows(history: History, view: View, width: int) -> Iterator[str]:
    trend_width = width - _LABEL - 2 * (_NUMBER + 1) - 1
    numbers = f"{{:<{_LABEL}}} {{:>{_NUMBER}}} {{:>{_NUMBER}}} {{}}"
    yield numbers.format("PER SECOND", "NOW", "1 MIN", "TREND")
    for flow in rows.flows(history):
        yield numbers.format(
            flow.name,
            units.rate(flow.now, _NUMBER),
            units.rate(flow.minute, _NUMBER),
            sparkline(flow.trend, trend_width, ascii_only=view.plain),
        )


def _latencies(history: History, info: Info, view: View, wide: bool) -> Iterator[str]:
    limit = len(rows.FLOWS)
    seconds = rows.MINUTE if view.minute else None
    row = f"{{:<14}} {{:>{_PERCENTILE}}} {{:>{_PERCENTILE}}} {{:>{_PERCENTILE}}}"
    row += f"{{:>{_LATENCY_WIDE}}}" if wide else "{:.0}"
    yield row.format("LATENCY", "P50", "P90", "P99", "CALLS")
    found = rows.latencies(history, info, seconds)
    shown = _timed_first(found, limit)
    for latency in shown:
        yield row.format(
            f"{latency.name} {size_label(latency.size)}",
            *map(units.duration, (latency.p50, latency.p90, latency.p99)),
            units.count(latency.timed, _LATENCY_WIDE - 1),
        )


def _timed_first(found: Sequence[rows.Latency], limit: int) -> list[rows.Latency]:
    """Select ``limit`` rows, those with samples first; keep their order."""
    chosen = sorted(found, key=lambda latency: latency.timed == 0)[:limit]
    return [latency for latency in found if latency in chosen]


def _failures(history: History) -> Text:
    found = rows.failures(history.last)
    line = Text("failures      ")
    if not found:
        line.append(units.UNKNOWN if found is None else "none", "bold")
        return line
    line.append("   ".join(f"{name} {count}" for name, count in found.items()), _BAD)
    return line


def _pools(history: History, info: Info, view: View, room: int) -> Iterator[Text]:
    found = rows.sort_rows(rows.pool_rows(history, info), view.sort, reverse=view.reverse)
    if not found and room:
        yield Text("no huge page pools on this kernel", _DIM)
    shown = found if len(found) <= room else found[: max(0, room - 1)]
    for row in shown:
        yield Text(_pool(row), _BAD if row.failed else "")
    if len(shown) < len(found):
        yield Text(f"{len(found) - len(shown)} more: enlarge the terminal, or sort", _DIM)


def _pool(row: rows.PoolRow) -> str:
    return _POOL.format(
        size_label(row.size),
        row.node,
        units.count(row.pages, 7),
        units.count(row.free, 7),
        units.count(row.surplus, 7),
        units.count(row.optimized, 9),
        units.rate(row.rate, 7),
        units.count(row.failed, 6),
        units.memory(row.saved),
        units.memory(row.possible),
    )


def _keys(view: View) -> Text:
    line = Text()
    order = f"{view.sort} {'down' if view.reverse else 'up'}"
    keys: Iterable[tuple[str, str]] = (
        ("q", "quit"),
        ("p", "resume" if view.paused else "pause"),
        ("s", f"sort: {order}"),
        ("r", "reverse"),
        ("w", f"latency: {'1 min' if view.minute else 'all'}"),
    )
    for key, action in keys:
        line.append(f" {key} ", _HEAD)
        line.append(f" {action}  ")
    return line

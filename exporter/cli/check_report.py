# SPDX-License-Identifier: Apache-2.0
"""Print preflight findings: a table for people, one JSON object for programs."""

import json
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence

import click

from probes.preflight import Finding, Verdict, is_ready

_MARKS = {
    Verdict.OK: ("ok", "green"),
    Verdict.WARNING: ("warn", "yellow"),
    Verdict.PROBLEM: ("FAIL", "red"),
    Verdict.UNKNOWN: ("?", "cyan"),
}
_MARK_WIDTH, _NAME_WIDTH = 5, 14
_INDENT = " " * (_MARK_WIDTH + _NAME_WIDTH)
_FIX_INDENT = " " * _MARK_WIDTH


def to_json(findings: Sequence[Finding]) -> str:
    """Return one object: ``{"ready": ..., "findings": [{"name", "verdict", "what", "fix"}]}``."""
    return json.dumps(
        {"ready": is_ready(findings), "findings": [finding._asdict() for finding in findings]}
    )


def to_table(findings: Sequence[Finding], width: int | None) -> str:
    """Return one row per finding, its fix below, and a summary; lines wrap at ``width``."""
    lines = [line for finding in findings for line in _rows(finding, width)]
    return "\n".join((*lines, *_wrapped(_summary(findings), "", width)))


def terminal_width() -> int | None:
    """Return the columns of the terminal; None if stdout is not a terminal: lines don't wrap."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def _rows(finding: Finding, width: int | None) -> Iterator[str]:
    mark, color = _MARKS[finding.verdict]
    first, *rest = _wrapped(finding.what, _INDENT, width)
    yield (
        click.style(f"{mark:<{_MARK_WIDTH}}", fg=color)
        + f"{finding.name:<{_NAME_WIDTH}}"
        + first.removeprefix(_INDENT)
    )
    yield from rest
    if finding.fix:
        yield from _wrapped(f"fix: {finding.fix}", _FIX_INDENT, width)


def _wrapped(text: str, indent: str, width: int | None) -> list[str]:
    if width is None:
        return [indent + text]
    return textwrap.wrap(
        text,
        max(width, len(_INDENT) + 20),
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _summary(findings: Sequence[Finding]) -> str:
    """Return the last sentence: what will work, what will not, and what to type next."""
    if not is_ready(findings):
        return (
            "Not ready: serve and top show the kernel's own state only, and trace, record and "
            f"latency will not start: {_first_and_fix(findings, Verdict.PROBLEM)}"
        )
    unknown = sum(finding.verdict is Verdict.UNKNOWN for finding in findings)
    ready = "Ready: every command will work"
    if unknown:
        ready = f"Ready ({unknown} unknown): every command should work"
    if any(finding.verdict is Verdict.WARNING for finding in findings):
        return f"{ready}, with a limit: {_first_and_fix(findings, Verdict.WARNING)}"
    return f"{ready}. Next: hvoscope serve"


def _first_and_fix(findings: Sequence[Finding], verdict: Verdict) -> str:
    """Return the first finding that has a fix, else the first; how many more there are; the fix."""
    found = [finding for finding in findings if finding.verdict is verdict]
    first = next((finding for finding in found if finding.fix), found[0])
    more = len(found) - 1
    others = f" (and {more} more {verdict}{'s' if more > 1 else ''})" if more else ""
    fix = first.fix.partition(" (")[0]  # alternatives follow in parentheses
    return f"{first.what}{others}." + (f" Next: {fix}" if fix else "")

# SPDX-License-Identifier: Apache-2.0
"""Draw folded stacks as a flame graph: ``hvoscope trace --folded | python -m tests.flame TITLE``.

For the picture in docs/terminal.md only; flamegraph.pl and speedscope draw better ones.
"""

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

_WIDTH, _ROW, _TITLE, _MARGIN = 1000, 17, 28, 4
_CHARACTER = 6.6
"""Width of a character of the font below."""
_COLORS = ("#f6b26b", "#f9cb9c", "#ffd966", "#ffe599")


@dataclass
class Frame:
    """A function, what it weighs with all that it called, and what it called."""

    weight: int = 0
    called: dict[str, "Frame"] = field(default_factory=dict)


def tree(folded: Iterable[str]) -> Frame:
    """Merge ``outermost;...;innermost WEIGHT`` lines. Raises ``ValueError`` for other lines."""
    root = Frame()
    for line in folded:
        stack, _, weight = line.rpartition(" ")
        frame = root
        frame.weight += int(weight)
        for name in stack.split(";"):
            frame = frame.called.setdefault(name, Frame())
            frame.weight += int(weight)
    return root


def depth(frame: Frame) -> int:
    """The longest chain of calls."""
    return 1 + max(map(depth, frame.called.values()), default=0)


def picture(folded: Iterable[str], title: str) -> str:
    """Return the SVG, callers at the bottom."""
    root = tree(folded)
    rows = depth(root) - 1
    height = _TITLE + rows * _ROW + _MARGIN
    unit = (_WIDTH - 2 * _MARGIN) / (root.weight or 1)
    boxes = _boxes(root, _MARGIN, height - _MARGIN - _ROW, unit, 0)
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}"',
            ' font-family="monospace" font-size="11">',
            f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
            f'<text x="{_MARGIN}" y="18" font-size="13">{escape(title)}</text>',
            *boxes,
            "</svg>\n",
        )
    )


def _boxes(frame: Frame, left: float, top: int, unit: float, level: int) -> Iterator[str]:
    for name, called in sorted(frame.called.items()):
        width = called.weight * unit
        yield (
            f'<g><title>{escape(name)}: {called.weight}</title><rect x="{left:.1f}" y="{top}" '
            f'width="{max(width - 1, 0.5):.1f}" height="{_ROW - 1}" '
            f'fill="{_COLORS[(level + len(name)) % len(_COLORS)]}"/>'
        )
        shown = name[: int((width - 6) / _CHARACTER)] if width > 6 else ""
        yield f'<text x="{left + 3:.1f}" y="{top + 12}">{escape(shown)}</text></g>'
        yield from _boxes(called, left, top - _ROW, unit, level + 1)
        left += width


if __name__ == "__main__":
    sys.stdout.write(picture(sys.stdin.read().splitlines(), sys.argv[1]))

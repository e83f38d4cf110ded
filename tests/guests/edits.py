# SPDX-License-Identifier: Apache-2.0
"""Changes to a source tree written as data, each with the number of places it must fit."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


class EditError(RuntimeError):
    """An edit does not fit the source as often as it must: the source is another one."""


@dataclass(frozen=True)
class Edit:
    """In `file`, replace what `pattern` (a regular expression) matches, exactly `count` times."""

    file: str
    pattern: str
    replacement: str
    count: int = 1


def apply(text: str, edit: Edit) -> str:
    """`text` after the edit."""
    changed, found = re.subn(edit.pattern, edit.replacement, text)
    if found != edit.count:
        raise EditError(
            f"{edit.file}: pattern {edit.pattern!r} found {found} times, expected {edit.count}"
        )
    return changed


def apply_all(tree: Path, edits: Iterable[Edit]) -> None:
    """Makes all edits in a tree, or stops at the first that does not fit."""
    for edit in edits:
        path = tree / edit.file
        path.write_text(apply(path.read_text(), edit))

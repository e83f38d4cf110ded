# SPDX-License-Identifier: Apache-2.0
"""The lines that a patch adds, out of a mail whose white space may be lost."""

from __future__ import annotations

import re

_FILE = re.compile(r"\+\+\+ b/(\S+)")
_END = re.compile(r"diff --git |-- ?$")
"""What ends the patch of a file: the next one, or the mail's signature."""


def added_blocks(mail: str) -> dict[str, list[str]]:
    """For each file of the patch, its blocks of consecutive added lines, in order.

    A block ends with a newline, like the lines in it. Raises ``ValueError`` when nothing is added.
    """
    blocks: dict[str, list[str]] = {}
    current: list[str] | None = None
    open_block = False
    for line in mail.splitlines():
        if found := _FILE.match(line):
            current = blocks.setdefault(found[1], [])
            open_block = False
        elif current is None or not line.startswith("+"):
            open_block = False
            if _END.match(line):
                current = None
        else:
            if not open_block:
                current.append("")
            open_block = True
            current[-1] += line[1:] + "\n"
    if not any(blocks.values()):
        raise ValueError("not a patch: no line is added to any file")
    return blocks

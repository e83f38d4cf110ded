# SPDX-License-Identifier: Apache-2.0
"""Which line of a TOML file a key stands on: the standard library's parser does not keep that.

It looks for headers and for keys at the start of a line, which is how people write them. For
whatever else TOML allows, the line is that of the nearest thing around it.
"""

import re

Path = tuple[str | int, ...]
"""Keys from the outside in; numbers count the tables of an array and the items of a list."""

_HEADER = re.compile(r"\s*(\[\[?)\s*([\w.-]+)\s*\]\]?\s*(#.*)?")
_KEY = re.compile(r"\s*([\w-]+)\s*=")
_LONG_QUOTES = re.compile(r'"""|' + "'''")


class Lines:
    """The line numbers of one file, from 1."""

    def __init__(self, text: str) -> None:
        """``text`` must be TOML."""
        self._lines = text.splitlines()
        self._found: dict[Path, int] = {}
        self._scan()

    def of(self, path: Path) -> int:
        """Line of the key at ``path``, or of the nearest one around it."""
        for length in range(len(path), 0, -1):
            if path[:length] in self._found:
                return self._found[path[:length]]
        return 1

    def of_text(self, path: Path, text: str) -> int:
        """Line of the first ``text`` from the key at ``path`` on, which it is a value of."""
        first = self.of(path)
        for number, line in enumerate(self._lines[first - 1 :], first):
            if text in line:
                return number
        return first

    def _scan(self) -> None:
        table: Path = ()
        counts: dict[str, int] = {}
        quoted = False
        for number, line in enumerate(self._lines, 1):
            if not quoted and (header := _HEADER.fullmatch(line)):
                table = tuple(header[2].split("."))
                if header[1] == "[[":
                    counts[header[2]] = counts.get(header[2], -1) + 1
                    table = (*table, counts[header[2]])
                self._found.setdefault(table, number)
            elif not quoted and (key := _KEY.match(line)):
                self._found.setdefault((*table, key[1]), number)
            if len(_LONG_QUOTES.findall(line)) % 2:
                quoted = not quoted

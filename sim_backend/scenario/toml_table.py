# SPDX-License-Identifier: Apache-2.0
"""Tables of a TOML file, read key by key; whatever is wrong is named with file and line."""

import tomllib
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from sim_backend.scenario.toml_lines import Lines
from sim_backend.scenario.toml_lines import Path as KeyPath

T = TypeVar("T")

_NAMES: Mapping[type, str] = {
    str: "a string",
    int: "a whole number",
    bool: "true or false",
    list: "a list",
    dict: "a table",
}


class TomlError(ValueError):
    """Something is wrong with a file; the message begins with its name and the line."""


class Table:
    """One table: each key is taken once, and ``end`` rejects those that were not taken."""

    def __init__(self, data: Mapping[str, Any], file: str, lines: Lines, path: KeyPath) -> None:
        """``path`` leads to this table."""
        self._data = data
        self._file = file
        self._lines = lines
        self._path = path
        self._known: list[str] = []

    def has(self, key: str) -> bool:
        """Whether ``key`` is given."""
        self._known.append(key)
        return key in self._data

    def text(self, key: str, read: Callable[[str], T], default: T | None = None) -> T:
        """A string, as ``read`` reads it; a ``ValueError`` of ``read`` gets file and line.

        Raises ``TomlError``, also where there is no such key and no ``default``.
        """
        if not self.has(key) and default is not None:
            return default
        return self.checked(key, read, self._value(key, str))

    def number(self, key: str, least: int, default: int, most: int = 2**63 - 1) -> int:
        """A whole number from ``least`` to ``most``."""
        if not self.has(key):
            return default
        value: int = self._value(key, int)
        if value < least:
            raise self.error(key, f"{key} must be {least} or more, not {value}")
        if value > most:
            raise self.error(key, f"{key} must be {most} or less, not {value}")
        return value

    def flag(self, key: str, default: bool) -> bool:
        """True or false."""
        return bool(self._value(key, bool)) if self.has(key) else default

    def value(self, key: str) -> Any:
        """Whatever is there, None if nothing is."""
        return self._data[key] if self.has(key) else None

    def texts(self, key: str, read: Callable[[str], T]) -> tuple[T, ...]:
        """A string or a list of strings, each as ``read`` reads it; empty without the key."""
        if not self.has(key):
            return ()
        value = self._data[key]
        items = value if isinstance(value, list) else [value]
        for item in items:
            if not isinstance(item, str):
                raise self.error(key, f"{key} must be a string or a list of strings")
        return tuple(self.checked(key, read, item) for item in items)

    def table(self, key: str) -> "Table":
        """The table under ``key``, empty if there is none."""
        data = self._value(key, dict) if self.has(key) else {}
        return Table(data, self._file, self._lines, (*self._path, key))

    def tables(self, key: str) -> Iterator["Table"]:
        """The tables of the array ``[[key]]``."""
        for index, data in enumerate(self._value(key, list) if self.has(key) else []):
            if not isinstance(data, dict):
                raise self.error(key, f"write each {key} as a table of its own, below [[{key}]]")
            yield Table(data, self._file, self._lines, (*self._path, key, index))

    def checked(self, key: str, read: Callable[[str], T], text: str) -> T:
        """``read(text)``, with file and line put before the ``ValueError`` that it may raise."""
        try:
            return read(text)
        except ValueError as error:
            raise TomlError(f"{self.where(key, text)}: {error}") from None

    def where(self, key: str, text: str = "") -> str:
        """File and line of ``key``, or of ``text`` in its value."""
        line = self._lines.of_text((*self._path, key), text)
        return f"{self._file}:{line}"

    def error(self, key: str, problem: str) -> TomlError:
        """An error at ``key``."""
        return TomlError(f"{self.where(key)}: {problem}")

    def end(self) -> None:
        """Raise ``TomlError`` for the first key that was not taken."""
        for key in self._data:
            if key not in self._known:
                close = get_close_matches(key, self._known, 1)
                hint = f"do you mean {close[0]}?" if close else f"known: {', '.join(self._known)}"
                raise self.error(key, f"unknown key {key!r} ({hint})")

    def _value(self, key: str, kind: type) -> Any:
        if key not in self._data:
            raise TomlError(f"{self.where('')}: {key} is missing here")
        value = self._data[key]
        if type(value) is not kind:  # a bool is an int, too
            raise self.error(key, f"{key} must be {_NAMES[kind]}, not {value!r}")
        return value


def read_toml(path: Path) -> Table:
    """Read a file. Raises ``TomlError`` with the line that is no TOML, or if it can't be read."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise TomlError(f"{path}: can't be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise TomlError(f"{path}:{line}: this is no UTF-8 text") from None
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise TomlError(_syntax_error(path, text, str(error))) from None
    except RecursionError:
        raise TomlError(f"{path}:1: lists in lists too deep to read") from None
    return Table(data, str(path), Lines(text), ())


def _syntax_error(path: Path, text: str, message: str) -> str:
    """Move the line from the end of tomllib's message to its front."""
    problem, _, place = message.partition(" (at ")
    if place.startswith("line "):
        line, _, column = place.removeprefix("line ").rstrip(")").partition(", column ")
        return f"{path}:{line}: {problem} (column {column})"
    return f"{path}:{len(text.splitlines()) or 1}: {problem} at the end of the file"

# SPDX-License-Identifier: Apache-2.0
"""YAML that is read strictly: whatever nobody asked for is an error with file, line and key."""

from collections.abc import Iterator
from pathlib import Path

import yaml

_MOST_BYTES = 1024 * 1024
_NULL = "tag:yaml.org,2002:null"
_BOOLEAN = "tag:yaml.org,2002:bool"
_TRUE = ("true", "yes", "on")  # of YAML 1.1, which is what Go's reader and this one speak


class ConfigError(Exception):
    """The file can't be used; the message is one line with file, line, key and reason."""


class Value:
    """A value in the file that knows its place there."""

    def __init__(self, path: Path, key: str, node: yaml.Node) -> None:
        """``key`` in full, from the top of the file."""
        self.path = path
        self.key = key
        self._node = node

    def wrong(self, reason: str) -> ConfigError:
        """What to raise when the value is wrong."""
        return ConfigError(self.note(reason))

    def note(self, text: str) -> str:
        """A line about this value."""
        place = f"{self.path}:{self._node.start_mark.line + 1}"
        return f"{place}: {self.key}: {text}" if self.key else f"{place}: {text}"

    def text(self) -> str:
        """A string; nothing at all reads as empty, as with exporter-toolkit."""
        if not isinstance(self._node, yaml.ScalarNode):
            raise self.wrong("must be a string")
        return "" if self._node.tag == _NULL else str(self._node.value)

    def boolean(self) -> bool:
        """true or false."""
        if self._node.tag != _BOOLEAN:
            raise self.wrong("must be true or false")
        return self.text().lower() in _TRUE

    def integer(self) -> int:
        """A whole number, in decimal."""
        text = self.text()
        if not (text.isascii() and text.isdecimal() and len(text) < 10):
            raise self.wrong(f"must be a whole number, not {text!r}")
        return int(text)

    def items(self) -> Iterator["Value"]:
        """Every entry of a list."""
        if self._node.tag == _NULL:
            return
        if not isinstance(self._node, yaml.SequenceNode):
            raise self.wrong("must be a list")
        for node in self._node.value:
            yield Value(self.path, self.key, node)

    def mapping(self) -> dict[str, "Value"]:
        """Values by key, whatever the keys; one key twice is an error."""
        if self._node.tag == _NULL:
            return {}
        if not isinstance(self._node, yaml.MappingNode):
            raise self.wrong("must be a mapping (KEY: VALUE lines)")
        found: dict[str, Value] = {}
        for key_node, node in self._node.value:
            key = Value(self.path, self.key, key_node).text()
            value = Value(self.path, f"{self.key}.{key}".removeprefix("."), node)
            if key in found:
                raise Value(self.path, value.key, key_node).wrong("is there twice")
            found[key] = value
        return found

    def section(self, *known: str) -> dict[str, "Value"]:
        """Values by key, of which no other than ``known`` may be there.

        A key with nothing behind it is left out: Go's reader keeps the default.
        """
        found = self.mapping()
        for key, value in found.items():
            if key not in known:
                raise value.wrong(f"unknown key (known here: {', '.join(known)})")
        return {key: value for key, value in found.items() if value._node.tag != _NULL}


def read(path: Path) -> Value:
    """Read the file's top mapping. Raises ``ConfigError``."""
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from error
    if len(content) > _MOST_BYTES:
        raise ConfigError(f"{path}: larger than 1 MiB: no web configuration")
    return Value(path, "", _compose(path, content))


def _compose(path: Path, content: bytes) -> yaml.Node:
    """Parse without making objects: nodes know their lines, and no tag does anything."""
    try:
        node = yaml.compose(content, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        raise ConfigError(f"{path}{line}: no YAML: {error.problem or error.context}") from error
    except (yaml.YAMLError, UnicodeError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"{path}: no YAML: {reason}") from error
    except RecursionError as error:
        raise ConfigError(f"{path}: no YAML: nested too deeply") from error
    return node or yaml.ScalarNode(_NULL, "", _START, _START)


_START = yaml.Mark("", 0, 0, 0, None, 0)

# SPDX-License-Identifier: Apache-2.0
"""Strict YAML reader: every unexpected key or type is an error with file, line and key."""

from collections.abc import Iterator
from pathlib import Path

import yaml

_MAX_BYTES = 1024 * 1024
_NULL = "tag:yaml.org,2002:null"
_BOOLEAN = "tag:yaml.org,2002:bool"
_TRUE = ("true", "yes", "on")  # YAML 1.1, as in Go's reader


class ConfigError(Exception):
    """The file is invalid; the message is one line with file, line, key and reason."""


class Value:
    """A value in the file, with its file, line and key."""

    def __init__(self, path: Path, key: str, node: yaml.Node) -> None:
        """``key`` is the full path from the top of the file, separated by dots."""
        self.path = path
        self.key = key
        self._node = node

    def wrong(self, reason: str) -> ConfigError:
        """Return an error about this value, to raise."""
        return ConfigError(self.note(reason))

    def note(self, text: str) -> str:
        """Return a message about this value, with file, line and key."""
        position = f"{self.path}:{self._node.start_mark.line + 1}"
        return f"{position}: {self.key}: {text}" if self.key else f"{position}: {text}"

    def text(self) -> str:
        """Return a string; a missing value is empty, as in exporter-toolkit."""
        if not isinstance(self._node, yaml.ScalarNode):
            raise self.wrong("must be a string")
        return "" if self._node.tag == _NULL else str(self._node.value)

    def boolean(self) -> bool:
        """Return a boolean."""
        if self._node.tag != _BOOLEAN:
            raise self.wrong("must be true or false")
        return self.text().lower() in _TRUE

    def integer(self) -> int:
        """Return a decimal integer of at most 9 digits."""
        text = self.text()
        if not (text.isascii() and text.isdecimal() and len(text) < 10):
            raise self.wrong(f"invalid integer {text!r} (expected 0 to 999999999)")
        return int(text)

    def items(self) -> Iterator["Value"]:
        """Yield the entries of a list."""
        if self._node.tag == _NULL:
            return
        if not isinstance(self._node, yaml.SequenceNode):
            raise self.wrong("must be a list")
        for node in self._node.value:
            yield Value(self.path, self.key, node)

    def mapping(self) -> dict[str, "Value"]:
        """Return values by key; a duplicate key is an error."""
        if self._node.tag == _NULL:
            return {}
        if not isinstance(self._node, yaml.MappingNode):
            raise self.wrong("must be a mapping (KEY: VALUE lines)")
        found: dict[str, Value] = {}
        for key_node, node in self._node.value:
            key = Value(self.path, self.key, key_node).text()
            value = Value(self.path, f"{self.key}.{key}".removeprefix("."), node)
            if key in found:
                raise Value(self.path, value.key, key_node).wrong("duplicate key")
            found[key] = value
        return found

    def section(self, *known: str) -> dict[str, "Value"]:
        """Return values by key; a key that is not in ``known`` is an error.

        A key without a value is omitted: like Go's reader, that keeps the default.
        """
        found = self.mapping()
        for key, value in found.items():
            if key not in known:
                raise value.wrong(f"unknown key (expected {', '.join(known)})")
        return {key: value for key, value in found.items() if value._node.tag != _NULL}


def read(path: Path) -> Value:
    """Read the file's top mapping. Raises ``ConfigError``."""
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from error
    if len(content) > _MAX_BYTES:
        raise ConfigError(f"{path}: file too large (expected at most 1 MiB)")
    return Value(path, "", _compose(path, content))


def _compose(path: Path, content: bytes) -> yaml.Node:
    """Parse into nodes, which have line numbers; no objects are made and tags have no effect."""
    try:
        node = yaml.compose(content, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        raise ConfigError(
            f"{path}{line}: invalid YAML: {error.problem or error.context}"
        ) from error
    except (yaml.YAMLError, UnicodeError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"{path}: invalid YAML: {reason}") from error
    except RecursionError as error:
        raise ConfigError(f"{path}: invalid YAML: nested too deeply") from error
    return node or yaml.ScalarNode(_NULL, "", _START, _START)


_START = yaml.Mark("", 0, 0, 0, None, 0)

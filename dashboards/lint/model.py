# SPDX-License-Identifier: Apache-2.0
"""A dashboard as the rules look at it, and what they find."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple


class Finding(NamedTuple):
    """What is wrong, where, by which rule. ``panel`` is empty for the dashboard itself."""

    dashboard: str
    panel: str
    rule: str
    message: str

    def __str__(self) -> str:
        where = f"{self.dashboard}: panel {self.panel!r}" if self.panel else self.dashboard
        return f"{where}: {self.rule}: {self.message}"


class Fault(NamedTuple):
    """A rule's finding, before it is known whose rule it is."""

    panel: str
    message: str


@dataclass(frozen=True)
class Board:
    """Grafana's JSON model. Anything may be missing from it."""

    model: dict[str, Any]

    @property
    def title(self) -> str:
        """Or the identifier, or a dash."""
        return str(self.model.get("title") or self.model.get("uid") or "-")

    def variables(self) -> list[dict[str, Any]]:
        """In the order in which they are shown."""
        found: list[dict[str, Any]] = self.model.get("templating", {}).get("list", [])
        return found

    def variable(self, name: str) -> dict[str, Any] | None:
        """By name; None where there is none."""
        return next((v for v in self.variables() if v.get("name") == name), None)

    def panels(self) -> Iterator[dict[str, Any]]:
        """All that show something, those in collapsed rows too."""
        for panel in self.model.get("panels", []):
            if panel.get("type") == "row":
                yield from panel.get("panels", [])
            else:
                yield panel

    def targets(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Every query, with its panel's name."""
        for panel in self.panels():
            for target in panel.get("targets", []):
                yield name_of(panel), target


Rule = Callable[[Board], Iterator[Fault]]


def name_of(panel: dict[str, Any]) -> str:
    """Its title, or its number where that is missing."""
    return str(panel.get("title") or f"#{panel.get('id', '?')}")


def datasource_of(thing: dict[str, Any]) -> str:
    """The data source's identifier as written; empty without one."""
    source = thing.get("datasource")
    return str(source.get("uid", "")) if isinstance(source, dict) else str(source or "")

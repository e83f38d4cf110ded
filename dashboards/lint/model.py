# SPDX-License-Identifier: Apache-2.0
"""The dashboard model that the rules read, and their findings."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple


class Finding(NamedTuple):
    """A violation of a rule; ``panel`` is empty for the dashboard itself."""

    dashboard: str
    panel: str
    rule: str
    message: str

    def __str__(self) -> str:
        where = f"{self.dashboard}: panel {self.panel!r}" if self.panel else self.dashboard
        return f"{where}: {self.rule}: {self.message}"


class Fault(NamedTuple):
    """A violation, without dashboard and rule, as a rule yields it."""

    panel: str
    message: str


@dataclass(frozen=True)
class Board:
    """Grafana's JSON model, of which any part may be missing."""

    model: dict[str, Any]

    @property
    def title(self) -> str:
        """The title, or the UID, or a dash."""
        return str(self.model.get("title") or self.model.get("uid") or "-")

    def variables(self) -> list[dict[str, Any]]:
        """Return the variables in their order."""
        found: list[dict[str, Any]] = self.model.get("templating", {}).get("list", [])
        return found

    def variable(self, name: str) -> dict[str, Any] | None:
        """Return the variable of this name, or None."""
        return next((v for v in self.variables() if v.get("name") == name), None)

    def panels(self) -> Iterator[dict[str, Any]]:
        """Yield all panels except rows, including those in collapsed rows."""
        for panel in self.model.get("panels", []):
            if panel.get("type") == "row":
                yield from panel.get("panels", [])
            else:
                yield panel

    def targets(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield every query with its panel's name."""
        for panel in self.panels():
            for target in panel.get("targets", []):
                yield name_of(panel), target


Rule = Callable[[Board], Iterator[Fault]]


def name_of(panel: dict[str, Any]) -> str:
    """Return the panel's title, or its ID if that is missing."""
    return str(panel.get("title") or f"#{panel.get('id', '?')}")


def datasource_of(thing: dict[str, Any]) -> str:
    """Return the data source's UID as written; empty without one."""
    source = thing.get("datasource")
    return str(source.get("uid", "")) if isinstance(source, dict) else str(source or "")

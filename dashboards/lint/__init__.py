# SPDX-License-Identifier: Apache-2.0
"""The 17 rules of Grafana's dashboard-linter, and our own, on a dashboard's JSON.

The linter itself is a Go program that no package carries; its rules, by their names, are written
anew here. ``python -m dashboards.lint FILE...`` runs them.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from dashboards.lint import panel_rules, target_rules, template_rules
from dashboards.lint.model import Board, Finding, Rule

LINTER: Mapping[str, Rule] = {
    **template_rules.RULES,
    **panel_rules.RULES,
    **target_rules.RULES,
}
OWN: Mapping[str, Rule] = {**panel_rules.OWN, **target_rules.OWN}


class Exclusion(NamedTuple):
    """A rule that one panel may break, and why (dashboard-linter has these in ``.lint``)."""

    dashboard: str
    panel: str
    rule: str
    reason: str


EXCLUSIONS: tuple[Exclusion, ...] = (
    Exclusion(
        "HVO / Host",
        "Frames saved since the probes were attached",
        "target-counter-agg-rule",
        "freed less allocated is a level, not a rate: what is saved now, by size and node",
    ),
)


def lint(model: dict[str, Any]) -> Iterator[Finding]:
    """Everything wrong with a dashboard, in the order of the rules."""
    board = Board(model)
    for name, rule in {**LINTER, **OWN}.items():
        for fault in rule(board):
            if not _excluded(board.title, fault.panel, name):
                yield Finding(board.title, fault.panel, name, fault.message)


def _excluded(dashboard: str, panel: str, rule: str) -> bool:
    return any(excluded[:3] == (dashboard, panel, rule) for excluded in EXCLUSIONS)

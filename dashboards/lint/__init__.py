# SPDX-License-Identifier: Apache-2.0
"""The 17 rules of Grafana's dashboard-linter, and our own, for a dashboard's JSON.

The linter is a Go program that is in no package index; its rules are reimplemented here under their
names. ``python -m dashboards.lint FILE...`` runs them.
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
    """A rule that one panel may violate, with the reason (dashboard-linter: ``.lint``).

    ``*`` is every panel.
    """

    dashboard: str
    panel: str
    rule: str
    reason: str


EXCLUSIONS: tuple[Exclusion, ...] = (
    Exclusion(
        "HVO / Fleet",
        "",
        "template-instance-rule",
        "a list of 20,000 hosts is too long to choose from: the table has those with alerts",
    ),
    Exclusion(
        "HVO / Fleet",
        "*",
        "target-instance-rule",
        "all hosts at once, from series that are recorded without instance",
    ),
    Exclusion(
        "HVO / Host",
        "",
        "template-instance-rule",
        "one host: with All it would query the whole fleet",
    ),
    Exclusion(
        "HVO / Host",
        "Net frames saved since attach",
        "target-counter-agg-rule",
        "freed less allocated is a level, not a rate: the frames saved now, by size and node",
    ),
)


def lint(model: dict[str, Any]) -> Iterator[Finding]:
    """Yield all findings of a dashboard, in the order of the rules."""
    board = Board(model)
    for name, rule in {**LINTER, **OWN}.items():
        for fault in rule(board):
            if not _excluded(board.title, fault.panel, name):
                yield Finding(board.title, fault.panel, name, fault.message)


def _excluded(dashboard: str, panel: str, rule: str) -> bool:
    return any(
        (excluded.dashboard, excluded.rule) == (dashboard, rule) and excluded.panel in (panel, "*")
        for excluded in EXCLUSIONS
    )

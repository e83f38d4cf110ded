# SPDX-License-Identifier: Apache-2.0
"""The rules as files that promtool can record one after the other, each from the ones before.

promtool records a file of rules from stored series only, so that rules which use other rules need
files of their own. Alerts become recorded ``ALERTS`` that fire at once: it knows no ``for``. A rule
finds nothing of what it recorded itself before: a latch holds as long as its own windows.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from dashboards.boards.promql import selectors
from dashboards.rules import Rule, rules


def write(path: Path) -> Iterator[list[Rule]]:
    """Write each layer into the file ``path``, one after the other; yield them.

    Prometheus evaluates a group some seconds after the full interval, by a hash of its name and
    file: with one name, all layers are recorded at the same moments.
    """
    for layer in layers():
        group = {"name": "recorded", "rules": [_recorded(rule) for rule in layer]}
        path.write_text(yaml.safe_dump({"groups": [group]}))
        yield layer


def layers() -> Iterator[list[Rule]]:
    """Yield rules so that each one uses only raw series and those of layers before."""
    left = list(rules())
    while left:
        missing = {_series(rule) for rule in left}
        ready = [rule for rule in left if not _used(rule) & missing - {_series(rule)}]
        # All alerts make the one series ALERTS: it is there when the last of them is.
        yield ready
        left = [rule for rule in left if rule not in ready]


def _series(rule: Rule) -> str:
    return "ALERTS" if rule.kind == "alert" else rule.name


def _used(rule: Rule) -> set[str]:
    return {selector.metric for selector in selectors(rule.expr)}


def _recorded(rule: Rule) -> dict[str, Any]:
    if rule.kind == "record":
        return {"record": rule.name, "expr": rule.expr}
    labels = {"alertname": rule.name, "alertstate": "firing", **rule.written["labels"]}
    return {"record": "ALERTS", "expr": f"0 * ({rule.expr}) + 1", "labels": labels}

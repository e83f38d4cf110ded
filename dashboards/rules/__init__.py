# SPDX-License-Identifier: Apache-2.0
"""Recording and alerting rules, read from Prometheus' YAML."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

FOLDER = Path(__file__).parent
FILES = (FOLDER / "recording.yml", FOLDER / "alerts.yml")
TESTS = FOLDER / "tests"
RUNBOOKS = "dashboards/runbooks"
"""Prefix of every ``runbook_url`` in the committed files."""


class Rule(NamedTuple):
    """One rule: kind (``alert`` or ``record``), name, expression, and its whole YAML mapping."""

    kind: str
    name: str
    expr: str
    written: dict[str, Any]


def rules() -> Iterator[Rule]:
    """Yield every rule of ``FILES``."""
    for path in FILES:
        for group in yaml.safe_load(path.read_text())["groups"]:
            for written in group["rules"]:
                kind = "alert" if "alert" in written else "record"
                yield Rule(kind, written[kind], written["expr"], written)

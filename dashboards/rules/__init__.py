# SPDX-License-Identifier: Apache-2.0
"""Recording and alerting rules, which are Prometheus's own YAML, as Python sees them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

FOLDER = Path(__file__).parent
FILES = (FOLDER / "recording.yml", FOLDER / "alerts.yml")
TESTS = FOLDER / "tests"
RUNBOOKS = "dashboards/runbooks"
"""What every ``runbook_url`` begins with, as the files are committed."""


class Rule(NamedTuple):
    """One rule: ``alert`` or ``record``, its name, its expression, and all that was written."""

    kind: str
    name: str
    expr: str
    written: dict[str, Any]


def rules() -> Iterator[Rule]:
    """Every rule of ``FILES``."""
    for path in FILES:
        for group in yaml.safe_load(path.read_text())["groups"]:
            for written in group["rules"]:
                kind = "alert" if "alert" in written else "record"
                yield Rule(kind, written[kind], written["expr"], written)

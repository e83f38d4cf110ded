# SPDX-License-Identifier: Apache-2.0
"""Recording and alerting rules, read from Prometheus' YAML."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

FOLDER = Path(__file__).parent
FILES = (FOLDER / "recording.yml", FOLDER / "alerts.yml")
"""Recording rules first: alerts use them."""
TESTS = FOLDER / "tests"
PAGES = FOLDER.parent / "runbooks"
"""The runbooks, one page with the name of each alert."""
RUNBOOKS = "https://hvoscope.example/runbooks"
"""Prefix of every ``runbook_url`` in the committed files; replace it with your own."""
SELECTOR = 'job=~".*hvoscope.*"'
"""Matcher of targets that are hvoscope's even if they never came up."""
HOST_LABELS = ("instance", "node", "pod", "host")
"""Labels that tell the targets of one job apart: series of the level ``job`` do not have them."""


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

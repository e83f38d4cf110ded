# SPDX-License-Identifier: Apache-2.0
"""The rules with the options of a fleet: job selector, host labels, more labels, runbooks."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import promql_parser
import yaml

from dashboards.rules import HOST_LABELS, RUNBOOKS, SELECTOR

_METRIC = re.compile(r"(?<![\w:])(hvo_\w+)(?![\w:(])(\{?)")
"""A metric of hvoscope in an expression, and the brace of its matchers; not a recorded series."""
_LABEL = re.compile(r"[a-zA-Z_]\w*")
_ALERT_LABELS = "alertname, alertstate, severity,"
"""The beginning of the labels that the recorded weight of a host's alerts leaves out."""


class Options(NamedTuple):
    """What differs from fleet to fleet."""

    selector: str = ""
    """Matchers of hvoscope's targets, for every selector; empty: metrics tell them."""
    labels: Mapping[str, str] = {}
    """More labels of every alert."""
    host_labels: Sequence[str] = HOST_LABELS
    runbooks: str = RUNBOOKS


def checked(options: Options) -> Options:
    """Return ``options``. Raises ``ValueError`` with what is wrong, and what is expected."""
    if options.selector and not _is_selector(options.selector):
        raise ValueError(f"""invalid --selector {options.selector!r} (expected 'job="hvo"')""")
    for name in (*options.host_labels, *options.labels):
        if not _LABEL.fullmatch(name):
            raise ValueError(f"invalid label name {name!r} (expected letters, digits, underscores)")
    if not re.match(r"https?://.", options.runbooks):
        raise ValueError(f"invalid --runbooks {options.runbooks!r} (expected https://...)")
    return options


def with_options(path: Path, options: Options) -> str:
    """Return the text of the rule file ``path`` with ``options``."""
    return dumped({"groups": groups_of(path, options)})


def groups_of(path: Path, options: Options) -> list[Any]:
    """Return the groups of the rule file ``path`` with ``options``."""
    content = yaml.safe_load(path.read_text())
    for group in content["groups"]:
        for rule in group["rules"]:
            rule["expr"] = _expression(rule["expr"], options)
            if "alert" in rule:
                rule["labels"] |= options.labels
                url = rule["annotations"]["runbook_url"]
                rule["annotations"]["runbook_url"] = url.replace(
                    RUNBOOKS, options.runbooks.rstrip("/")
                )
    groups: list[Any] = content["groups"]
    return groups


def dumped(content: Mapping[str, Any]) -> str:
    """Return YAML with expressions of several lines as blocks."""
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, width=100)


def _expression(expr: str, options: Options) -> str:
    expr = expr.replace(", ".join(HOST_LABELS), ", ".join(options.host_labels))
    more = "".join(f" {name}," for name in options.labels)
    expr = expr.replace(_ALERT_LABELS, _ALERT_LABELS + more)
    if options.selector:
        expr = _METRIC.sub(lambda found: _selected(found, options.selector), expr)
        expr = expr.replace(SELECTOR, options.selector)
    return expr


def _selected(found: re.Match[str], selector: str) -> str:
    name, brace = found.groups()
    return f"{name}{{{selector}, " if brace else f"{name}{{{selector}}}"


def _is_selector(text: str) -> bool:
    try:
        found = promql_parser.parse(f"up{{{text}}}")
    except ValueError:
        return False
    return isinstance(found, promql_parser.VectorSelector) and bool(found.matchers.matchers)


class _Dumper(yaml.SafeDumper):
    """Writes expressions of several lines as blocks."""


def _string(dumper: yaml.SafeDumper, text: str) -> Any:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _string)

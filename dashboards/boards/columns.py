# SPDX-License-Identifier: Apache-2.0
"""Columns of tables: selection and formatting."""

from typing import Any

from grafana_foundation_sdk.models.dashboard import DataTransformerConfig, DynamicConfigValue


def only(*labels: str, **values: str) -> list[DataTransformerConfig]:
    """Join the queries' tables by labels; keep only ``labels`` and ``values``, in that order.

    ``values`` maps old names to new: ``Value`` of a single query, ``Value #A`` (written
    ``Value_A``) of several.
    """
    renamed = {old.replace("_", " #"): new for old, new in values.items()}
    kept = [*labels, *renamed]
    return [
        DataTransformerConfig(id_val="merge", options={}),
        DataTransformerConfig(id_val="filterFieldsByName", options={"include": {"names": kept}}),
        DataTransformerConfig(
            id_val="organize",
            options={
                "excludeByName": {},
                "indexByName": {name: index for index, name in enumerate(kept)},
                "renameByName": renamed,
            },
        ),
    ]


def yes_or_no(yes: str, no: str, *, bad: str) -> list[DynamicConfigValue]:
    """Show 1 as ``yes`` in green, and 0 as ``no`` in the color ``bad``."""
    words: Any = {
        "0": {"text": no, "color": bad, "index": 0},
        "1": {"text": yes, "color": "green", "index": 1},
    }
    return [_mappings(words), *_colored()]


def plain(unit: str, *, decimals: int | None = None) -> list[DynamicConfigValue]:
    """Show a number with a unit."""
    precision = [] if decimals is None else [DynamicConfigValue("decimals", decimals)]
    return [DynamicConfigValue("unit", unit), *precision]


def wide(pixels: int) -> list[DynamicConfigValue]:
    """Set the width of the column."""
    return [DynamicConfigValue("custom.width", pixels)]


def bad_above_zero(color: str) -> list[DynamicConfigValue]:
    """Show a count in green if it is 0, otherwise in ``color``."""
    steps = [{"color": "green", "value": None}, {"color": color, "value": 0.5}]
    return [
        *plain("short", decimals=0),
        DynamicConfigValue("thresholds", {"mode": "absolute", "steps": steps}),
        *_colored(),
    ]


def linked(title: str, url: str) -> list[DynamicConfigValue]:
    """Put a link on every cell."""
    return [DynamicConfigValue("links", [{"title": title, "url": url}])]


def _mappings(words: Any) -> DynamicConfigValue:
    return DynamicConfigValue("mappings", [{"type": "value", "options": words}])


def _colored() -> list[DynamicConfigValue]:
    return [DynamicConfigValue("custom.cellOptions", {"type": "color-text"})]

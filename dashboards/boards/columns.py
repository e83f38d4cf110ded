# SPDX-License-Identifier: Apache-2.0
"""What the columns of tables look like."""

from typing import Any

from grafana_foundation_sdk.models.dashboard import DataTransformerConfig, DynamicConfigValue


def only(*labels: str, **values: str) -> list[DataTransformerConfig]:
    """Join the queries' tables by their labels, and keep ``labels`` and ``values`` in that order.

    ``values`` are new names by old: ``Value`` of a lone query, ``Value #A`` (written ``Value_A``)
    of several.
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
    """1 as ``yes`` in green, 0 as ``no`` in the colour ``bad``."""
    words: Any = {
        "0": {"text": no, "color": bad, "index": 0},
        "1": {"text": yes, "color": "green", "index": 1},
    }
    return [_mappings(words), *_coloured()]


def plain(unit: str, *, decimals: int | None = None) -> list[DynamicConfigValue]:
    """A number of its own ``unit``."""
    places = [] if decimals is None else [DynamicConfigValue("decimals", decimals)]
    return [DynamicConfigValue("unit", unit), *places]


def wide(pixels: int) -> list[DynamicConfigValue]:
    """A column of its own width."""
    return [DynamicConfigValue("custom.width", pixels)]


def bad_above_zero(color: str) -> list[DynamicConfigValue]:
    """A count in green while it is 0, and in ``color`` when it is not."""
    steps = [{"color": "green", "value": None}, {"color": color, "value": 0.5}]
    return [
        *plain("short", decimals=0),
        DynamicConfigValue("thresholds", {"mode": "absolute", "steps": steps}),
        *_coloured(),
    ]


def linked(title: str, url: str) -> list[DynamicConfigValue]:
    """A link on every cell."""
    return [DynamicConfigValue("links", [{"title": title, "url": url}])]


def _mappings(words: Any) -> DynamicConfigValue:
    return DynamicConfigValue("mappings", [{"type": "value", "options": words}])


def _coloured() -> list[DynamicConfigValue]:
    return [DynamicConfigValue("custom.cellOptions", {"type": "color-text"})]

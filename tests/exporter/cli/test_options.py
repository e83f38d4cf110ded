# SPDX-License-Identifier: Apache-2.0
"""Parsers of option values."""

import math

import pytest

from exporter.cli.options import parse_time_scale


@pytest.mark.parametrize(
    ("text", "scale"), [("1", 1), ("0.5", 0.5), ("60", 60), ("x60", 60), ("max", math.inf)]
)
def test_time_scales_are_parsed(text: str, scale: float) -> None:
    assert parse_time_scale(text) == scale


@pytest.mark.parametrize("text", ["0", "-1", "nan", "x", "fast", ""])
def test_an_invalid_time_scale_is_rejected(text: str) -> None:
    with pytest.raises(ValueError, match="invalid time scale"):
        parse_time_scale(text)

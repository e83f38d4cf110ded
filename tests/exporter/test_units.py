# SPDX-License-Identifier: Apache-2.0
import pytest

from exporter import units


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (None, "-"),
        (0, "0 B"),
        (1023, "1023 B"),
        (28 << 10, "28 KiB"),
        (2_866_800_000, "2.67 GiB"),
        (-(1 << 20), "-1 MiB"),
        (1 << 40, "1 TiB"),
    ],
)
def test_memory(size: int | None, text: str) -> None:
    assert units.memory(size) == text


@pytest.mark.parametrize(
    ("number", "width", "text"),
    [
        (None, 8, "-"),
        (0, 8, "0"),
        (12345678, 8, "12345678"),
        (123456789, 8, "123M"),
        (10**12, 6, "1T"),
        (-4096, 4, "-4.1k"),
    ],
)
def test_counts_are_exact_where_they_fit(number: int | None, width: int, text: str) -> None:
    assert units.count(number, width) == text


@pytest.mark.parametrize(
    ("rate", "text"),
    [
        (None, "-"),
        (0.0, "0"),
        (0.004, "<0.01"),
        (0.333, "0.33"),
        (23.0, "23"),
        (23.45, "23.4"),
        (4094.0, "4094"),
        (1.25e9, "1.25G"),
    ],
)
def test_rates(rate: float | None, text: str) -> None:
    assert units.rate(rate) == text


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (None, "-"),
        (150, "150ns"),
        (7_500, "7.5us"),
        (4_100_000, "4.1ms"),
        (10**9, "1s"),
        (float("inf"), ">1s"),
    ],
)
def test_durations(ns: float | None, text: str) -> None:
    assert units.duration(ns) == text

# SPDX-License-Identifier: Apache-2.0
"""Which generation a kernel release belongs to: ``6.1`` is of 6.0, ``6.12.118`` of 6.12.114."""

import re

from sim_backend.kernel.generation import GENERATIONS, NEWEST, Generation

_RELEASE = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?(?:[-+~_].*)?")
"""Also with what a distribution appends: ``6.1.0-56-cloud-amd64``."""

Version = tuple[int, int, int]


def find_generation(name: str) -> Generation:
    """Look up a generation by name or by a kernel release; ``ValueError`` says what there is.

    A release without a third number is the first of its series: 6.12 is 6.12.0. Stable kernels
    that differ from the series they belong to have a generation with three numbers.
    """
    if name in GENERATIONS:
        return GENERATIONS[name]
    version = _version(name)
    if version is None:
        raise ValueError(
            f"unknown kernel {name!r} (expected a release such as 6.12, or {_names()})"
        )
    rows = [(row, _version(row.name)) for row in GENERATIONS.values()]
    found = [row for row, first in rows if first and _has(first, row.name.count("."), version)]
    if not found:
        raise ValueError(f"kernel {name} has no HVO (expected 5.14 or newer)")
    newest = _version(NEWEST)
    if newest and version[:2] > newest[:2]:
        raise ValueError(f"kernel {name} is newer than {NEWEST}, the newest that is simulated")
    return found[-1]


def _version(text: str) -> Version | None:
    match = _RELEASE.fullmatch(text)
    return (int(match[1]), int(match[2]), int(match[3] or 0)) if match else None


def _has(first: Version, dots: int, version: Version) -> bool:
    """Whether ``version`` comes after ``first``; one of a stable series only within the series."""
    return first <= version and (dots == 1 or first[:2] == version[:2])


def _names() -> str:
    return ", ".join(GENERATIONS)

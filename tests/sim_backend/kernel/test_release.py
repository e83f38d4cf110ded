# SPDX-License-Identifier: Apache-2.0
"""Kernel releases and the generations that they belong to."""

import pytest

from sim_backend.kernel.generation import GENERATIONS, NEWEST
from sim_backend.kernel.release import find_generation
from sim_backend.kernel.sim_kernel import SimKernel


@pytest.mark.parametrize(
    ("release", "generation"),
    [
        *(("v17", "v17"), ("v17-enabled", "v17-enabled")),
        *(
            ("5.14", "5.14"),
            ("5.14.0", "5.14"),
            ("5.15", "5.14"),
            ("5.17.15", "5.14"),
            ("5.18", "5.18"),
        ),
        *(("5.19", "5.19"), ("6.0", "6.0"), ("6.1", "6.0"), ("6.1.192", "6.0")),
        *(("6.2", "6.2"), ("6.6", "6.2"), ("6.7", "6.7"), ("6.8", "6.8"), ("6.10", "6.8")),
        *(("6.11", "6.11"), ("6.12", "6.11"), ("6.12.113", "6.11"), ("6.13", "6.11")),
        # Stable kernels that differ from their series, and the series after them, that do not.
        *(("6.12.114", "6.12.114"), ("6.12.118", "6.12.114"), ("6.14.200", "6.11")),
        *(("6.15", "6.15"), ("6.18", "6.15"), ("6.18.50", "6.15"), ("6.18.51", "6.18.51")),
        *(("6.19.60", "6.15"), ("7.0", "6.15"), ("7.1", "7.1"), ("7.2.13", "7.1")),
        *(("7.3", "7.3"), ("7.3.4", "7.3")),
        # As `uname -r` prints them.
        *(("6.1.0-56-cloud-amd64", "6.0"), ("6.12.118+deb13-cloud-amd64", "6.12.114")),
        ("6.12.114+deb13-amd64", "6.12.114"),
    ],
)
def test_release_resolves_to_its_generation(release: str, generation: str) -> None:
    assert find_generation(release).name == generation
    assert SimKernel(release).generation.name == generation


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("5.13", r"kernel 5\.13 has no HVO \(expected 5\.14 or newer\)"),
        ("4.19.300", r"kernel 4\.19\.300 has no HVO"),
        ("7.4", r"kernel 7\.4 is newer than 7\.3"),
        ("16.1", r"kernel 16\.1 is newer than 7\.3"),
        ("v18", r"unknown kernel 'v18' \(expected a release such as 6\.12, or v17, "),
        ("6", "unknown kernel '6'"),
        ("6.x", "unknown kernel '6.x'"),
        ("", "unknown kernel ''"),
    ],
)
def test_unknown_release_is_rejected(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        find_generation(name)


def test_every_generation_is_named_after_its_first_release() -> None:
    for name, generation in GENERATIONS.items():
        assert find_generation(name) is generation
    assert list(GENERATIONS)[-1] == NEWEST

# SPDX-License-Identifier: Apache-2.0
"""A short run of each coverage-guided fuzzer: the same inputs every time, however busy the machine.

`make fuzz` runs for minutes.
"""

import re
from pathlib import Path

import pytest

from tests.fuzz.run import fuzz

pytestmark = pytest.mark.soak

pytest.importorskip("atheris", reason="atheris has no wheel for this Python")

RUNS = {
    "http": 500,
    "accept": 1500,
    "web-config": 800,
    "trace": 1000,
    "btf": 800,
    "kallsyms": 1500,
    "program": 2000,
    "os-release": 1000,
    "command-line": 2000,
}
"""Inputs of each: with the start, six to nine seconds of CPU."""


@pytest.mark.parametrize("target", RUNS)
def test_no_input_breaks_a_rule(tmp_path: Path, target: str) -> None:
    status, output = fuzz(target, tmp_path, "-seed=23", f"-runs={RUNS[target]}")
    assert status == 0, output
    (executed,) = re.findall(r"number_of_executed_units: (\d+)", output)
    assert int(executed) == RUNS[target]
    (*_, (branches, kept)) = re.findall(r"cov: (\d+) ft: \d+ corp: (\d+)", output)
    print(f"{target}: {executed} inputs, {branches} branches, {kept} kept")
    assert int(kept) > 3  # inputs that reach new code are kept: there is feedback

# SPDX-License-Identifier: Apache-2.0
"""The picture of docs/terminal.md is that of the recording beside it."""

import subprocess
import sys
from xml.etree import ElementTree

import pytest

from tests.docs import ROOT
from tests.exporter.cli.test_cli import hvoscope
from tests.flame import depth, picture, tree

RECORDING = ROOT / "tests/data/stacks/debian-6.1.hvot"
PICTURE = ROOT / "docs/flame-debian-6.1.svg"
TITLE = "Debian 6.1: 23 pages by a sysctl, 5 by page faults, and back; width: operations"


def test_stacks_with_the_same_callers_are_merged() -> None:
    root = tree(["a;b;c 3", "a;b;d 5", "e 23"])
    assert root.weight == 31
    assert {name: frame.weight for name, frame in root.called.items()} == {"a": 8, "e": 23}
    assert root.called["a"].called["b"].weight == 8
    assert depth(root) == 4
    with pytest.raises(ValueError, match="invalid literal"):
        tree(["a;b"])


def test_widths_add_up_and_names_are_escaped() -> None:
    svg = ElementTree.fromstring(picture(["<a>;b 3", "<a>;c 1"], "x & y"))  # noqa: S314 - our own
    space = "{http://www.w3.org/2000/svg}"
    widths = [float(box.get("width", 0)) for box in svg.iter(f"{space}rect")][1:]
    assert widths == [pytest.approx(991), pytest.approx(743), pytest.approx(247)]
    assert [title.text for title in svg.iter(f"{space}title")] == ["<a>: 4", "b: 3", "c: 1"]


def test_the_picture_is_of_the_recording() -> None:
    folded = hvoscope("trace", "--file", str(RECORDING), "--folded")
    assert folded.returncode == 0
    ran = subprocess.run(
        [sys.executable, "-m", "tests.flame", TITLE],
        input=folded.stdout, capture_output=True, text=True, check=True, cwd=ROOT,
    )  # fmt: skip
    assert ran.stdout == PICTURE.read_text()

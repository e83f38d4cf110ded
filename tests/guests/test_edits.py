# SPDX-License-Identifier: Apache-2.0
"""Edits of a source tree, and the check that a configuration holds what was asked for."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.guests.built import missing_options
from tests.guests.edits import Edit, EditError, apply, apply_all
from tests.guests.patched_edits import EDITS


def test_replaces_what_matches() -> None:
    edit = Edit("a.c", r"\bold\((\w+)\)", r"new(\1)", 2)
    assert apply("old(x); bold(y); old(z);", edit) == "new(x); bold(y); new(z);"


@pytest.mark.parametrize(("text", "found"), [("", 0), ("x", 1), ("x x x", 3)])
def test_another_number_of_places_is_an_error(text: str, found: int) -> None:
    with pytest.raises(EditError, match=rf"^a\.c: pattern 'x' found {found} times, expected 2$"):
        apply(text, Edit("a.c", "x", "y", 2))


def test_edits_of_one_file_follow_each_other(tmp_path: Path) -> None:
    (tmp_path / "a.c").write_text("one")
    apply_all(tmp_path, [Edit("a.c", "one", "two"), Edit("a.c", "two", "three")])
    assert (tmp_path / "a.c").read_text() == "three"


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.pattern)
def test_no_edit_fits_what_it_made(edit: Edit) -> None:
    """A tree that was edited before is refused, not edited twice."""
    made = re.sub(r"\\\d", "", edit.replacement)
    with pytest.raises(EditError):
        apply(made, edit)


def test_options_that_did_not_survive() -> None:
    requested = '# why\n\nCONFIG_A=y\nCONFIG_B=y\nCONFIG_C="-x"\n# CONFIG_D is not set\n'
    assert missing_options(requested, 'CONFIG_A=y\nCONFIG_B=y\nCONFIG_C="-x"\n') == []
    config = "CONFIG_A=m\n# CONFIG_B is not set\nCONFIG_D=y\n"
    assert missing_options(requested, config) == [
        "CONFIG_A=y",
        "CONFIG_B=y",
        'CONFIG_C="-x"',
        "# CONFIG_D is not set",
    ]


def test_an_unset_option_may_be_absent_or_said_to_be_unset() -> None:
    requested = "# CONFIG_D is not set\n"
    assert missing_options(requested, "") == []
    assert missing_options(requested, "# CONFIG_D is not set\nCONFIG_D_MORE=y\n") == []

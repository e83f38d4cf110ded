# SPDX-License-Identifier: Apache-2.0
"""Lines of keys, as people write TOML."""

import pytest

from sim_backend.scenario.toml_lines import Lines, Path

TEXT = '''\
top = 1
long = """
inner = 2
[not-a-table]
"""

[table]  # a comment
key = [
  "first",
  "second",
]
[table.below]
deep = true
[[step]]
at = "1s"
[[step]]
at = "2s"
'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("top",), 1),
        (("long",), 2),
        (("table",), 7),
        (("table", "key"), 8),
        (("table", "below", "deep"), 13),
        (("step", 0), 14),
        (("step", 0, "at"), 15),
        (("step", 1), 16),
        (("step", 1, "at"), 17),
        (("step", 1, "absent"), 16),  # the nearest thing around it
        (("inner",), 1),
        (("not-a-table",), 1),
    ],
)
def test_lines(path: Path, line: int) -> None:
    assert Lines(TEXT).of(path) == line


def test_text_in_a_value() -> None:
    lines = Lines(TEXT)
    assert lines.of_text(("table", "key"), "second") == 10
    assert lines.of_text(("table", "key"), "third") == 8

# SPDX-License-Identifier: Apache-2.0
import pytest

from probes.geometry import GIB, MIB
from probes.operations import Operation, parse_operation


@pytest.mark.parametrize(
    ("text", "operation"),
    [
        ("grow 2MB 23", Operation("grow", 2 * MIB, 23)),
        ("shrink 2MB 23", Operation("shrink", 2 * MIB, 23)),
        ("overcommit 2MB 5", Operation("overcommit", 2 * MIB, 5)),
        ("demote 1GB 1", Operation("demote", GIB, 1)),
        ("hvo on", Operation("hvo", on=True)),
        ("hvo off", Operation("hvo", on=False)),
    ],
)
def test_operations_are_read_and_written_alike(text: str, operation: Operation) -> None:
    assert parse_operation(text) == operation
    assert str(operation) == text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not an operation"),
        ("enlarge 2MB 3", "not an operation: 'enlarge 2MB 3'"),
        ("grow 2MB", "not an operation"),
        ("hvo maybe", "not an operation"),
        ("grow 2MB 0", "the count must be a whole number above 0, not '0'"),
        ("grow 2MB -1", "above 0, not '-1'"),
        ("grow 2MB x", "above 0, not 'x'"),
        ("grow two 3", "'grow two 3': not a size: 'two'"),
    ],
)
def test_what_is_wrong_is_named(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_operation(text)

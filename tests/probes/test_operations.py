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
def test_operations_parse_and_format_to_the_same_text(text: str, operation: Operation) -> None:
    assert parse_operation(text) == operation
    assert str(operation) == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "invalid operation ''"),
        ("enlarge 2MB 3", "invalid operation 'enlarge 2MB 3' .expected 'grow 2MB 23'"),
        ("grow 2MB", "invalid operation 'grow 2MB'"),
        ("hvo maybe", "invalid operation 'hvo maybe'"),
        ("grow 2MB 0", "'grow 2MB 0': invalid count '0' .expected a number above 0"),
        ("grow 2MB -1", "invalid count '-1'"),
        ("grow 2MB x", "invalid count 'x'"),
        ("grow two 3", "invalid operation 'grow two 3': invalid size 'two'"),
    ],
)
def test_an_invalid_operation_is_rejected_with_the_reason(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_operation(text)

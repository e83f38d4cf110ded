# SPDX-License-Identifier: Apache-2.0
import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.bpf.object_code import ELEMENTS, Function, MapSpec, ObjectCode

LOAD_MAP_7 = bytes([0x18, 0x11, 0, 0, 7, 0, 0, 0])
LOAD_NUMBER_7 = bytes([0x18, 0x01, 0, 0, 7, 0, 0, 0])
SECOND_HALF = bytes(8)
EXIT = bytes([0x95, 0, 0, 0, 0, 0, 0, 0])
CODE = LOAD_NUMBER_7 + SECOND_HALF + LOAD_MAP_7 + SECOND_HALF + EXIT

PROGRAM = ObjectCode(
    {"counters": MapSpec(2, 4, 4096, 2, 0x400)}, {"enter": Function(CODE, {2: "counters"})}
)


def test_only_loads_of_map_descriptors_are_bound() -> None:
    function = Function.unbound(CODE, {7: "counters"})
    assert function == PROGRAM.functions["enter"]
    bound = function.bound_to({"counters": 0x0102})
    assert bound == LOAD_NUMBER_7 + SECOND_HALF + bytes([0x18, 0x11, 0, 0, 2, 1, 0, 0]) + (
        SECOND_HALF + EXIT
    )


def test_the_number_of_an_element_becomes_its_address() -> None:
    number = ELEMENTS["settings"].to_bytes(8, "little")
    load = bytes([0x18, 0x03, 0, 0]) + number[:4] + bytes(4) + number[4:]
    near = bytes([0x18, 0x03, 0, 0]) + number[:4] + bytes(4) + bytes(4)
    function = Function.unbound(near + load + EXIT, {})
    assert (function.maps, function.elements) == ({}, {2: "settings"})
    program = ObjectCode({"settings": MapSpec(2, 4, 8, 1, 0)}, {"enter": function})
    assert ObjectCode.parse(program.dump()) == program
    bound = function.bound_to({"settings": 0x0102})
    assert bound == near + bytes([0x18, 0x23, 0, 0, 2, 1, 0, 0]) + bytes(8) + EXIT


def test_an_unknown_map_descriptor_is_rejected() -> None:
    with pytest.raises(ValueError, match="instruction 2 uses an unknown map descriptor"):
        Function.unbound(CODE, {8: "counters"})


def test_parse_returns_the_dumped_program() -> None:
    assert ObjectCode.parse(PROGRAM.dump()) == PROGRAM


@given(st.integers(0, len(PROGRAM.dump()) - 1), st.integers(1, 255))
def test_every_changed_byte_is_detected(offset: int, change: int) -> None:
    data = bytearray(PROGRAM.dump())
    data[offset] ^= change
    with pytest.raises(ValueError, match="checksum"):
        ObjectCode.parse(bytes(data))


def with_checksum(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest().encode() + b"\n" + body


def changed(part: str, name: str, **changes: Any) -> bytes:
    """The program with other attributes of one map or function, and a right checksum."""
    content = json.loads(PROGRAM.dump().partition(b"\n")[2])
    content[part][name].update(changes)
    return with_checksum(json.dumps(content).encode())


def test_the_unchanged_program_is_accepted() -> None:
    assert ObjectCode.parse(changed("functions", "enter")) == PROGRAM


@pytest.mark.parametrize(
    "attributes", [{"kind": -1}, {"flags": 1 << 32}, {"key_size": "4"}, {"value_size": 4.0}]
)
def test_a_map_that_bpf_cannot_create_is_rejected(attributes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="not a compiled program"):
        ObjectCode.parse(changed("maps", "counters", **attributes))


@pytest.mark.parametrize(
    "changes",
    [
        {"code": "AAAA"},  # three bytes
        {"code": "A"},
        {"code": 7},
        {"maps": [[5, "counters"]]},  # there are five instructions
        {"maps": [[4, "counters"]]},  # a load is of two
        {"elements": [[4, "counters"]]},
        {"elements": [[2, "absent"]]},
        {"maps": [[-1, "counters"]]},
        {"maps": [["2", "counters"]]},
        {"maps": [[2, "absent"]]},
        {"maps": [[2]]},
    ],
)
def test_a_function_that_cannot_be_bound_is_rejected(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="not a compiled program"):
        ObjectCode.parse(changed("functions", "enter", **changes))


@pytest.mark.parametrize("body", [b"[" * 100_000, b"[]", b'{"maps": 1}', b"\xff"])
def test_json_of_another_shape_is_rejected(body: bytes) -> None:
    with pytest.raises(ValueError, match="not a compiled program"):
        ObjectCode.parse(with_checksum(body))

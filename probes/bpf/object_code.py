# SPDX-License-Identifier: Apache-2.0
"""What the compiler made of the BPF program: bytecode and maps, as data that can be kept.

It holds no descriptor and no address: those differ with every load and every boot.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Self

INSTRUCTION_SIZE = 8
"""struct bpf_insn (include/uapi/linux/bpf.h): opcode, registers, offset, 32-bit immediate."""

_LOAD_IMMEDIATE_64 = 0x18
_SOURCE_IS_MAP = 1
"""BPF_PSEUDO_MAP_FD in the upper half of the register byte: the immediate is a descriptor."""


class MapSpec(NamedTuple):
    """A map to be made, in the words of bpf(2); sizes in bytes."""

    kind: int
    key_size: int
    value_size: int
    max_entries: int
    flags: int


@dataclass(frozen=True)
class Function:
    """One BPF function: its instructions, and which of them take which map's descriptor."""

    code: bytes
    maps: Mapping[int, str]
    """Number of the instruction -> name of the map."""

    @classmethod
    def taken_from(cls, code: bytes, map_descriptors: Mapping[int, str]) -> Self:
        """Read a function that is bound to ``map_descriptors`` (descriptor -> name).

        Raises ``ValueError`` for a descriptor that is none of them.
        """
        maps: dict[int, str] = {}
        for number in range(len(code) // INSTRUCTION_SIZE):
            at = number * INSTRUCTION_SIZE
            if code[at] == _LOAD_IMMEDIATE_64 and code[at + 1] >> 4 == _SOURCE_IS_MAP:
                descriptor = int.from_bytes(code[at + 4 : at + 8], "little")
                if descriptor not in map_descriptors:
                    raise ValueError(f"instruction {number} takes an unknown map")
                maps[number] = map_descriptors[descriptor]
        return cls(code, maps)

    def bound_to(self, descriptors: Mapping[str, int]) -> bytes:
        """Return the instructions with the maps' descriptors put in."""
        code = bytearray(self.code)
        for number, name in self.maps.items():
            at = number * INSTRUCTION_SIZE + 4
            code[at : at + 4] = descriptors[name].to_bytes(4, "little")
        return bytes(code)


@dataclass(frozen=True)
class ObjectCode:
    """A whole compiled program."""

    maps: Mapping[str, MapSpec]
    functions: Mapping[str, Function]

    def dump(self) -> bytes:
        """Write it as text: a checksum, then JSON."""
        body = json.dumps(
            {
                "maps": {name: spec._asdict() for name, spec in self.maps.items()},
                "functions": {
                    name: {
                        "code": base64.b64encode(function.code).decode(),
                        "maps": list(function.maps.items()),
                    }
                    for name, function in self.functions.items()
                },
            }
        ).encode()
        return hashlib.sha256(body).hexdigest().encode() + b"\n" + body

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read what ``dump`` wrote; ``ValueError`` when it is anything else."""
        checksum, _, body = data.partition(b"\n")
        if hashlib.sha256(body).hexdigest().encode() != checksum:
            raise ValueError("the checksum does not fit")
        try:
            content = json.loads(body)
            return cls(
                {name: MapSpec(**spec) for name, spec in content["maps"].items()},
                {
                    name: Function(
                        base64.b64decode(function["code"], validate=True), dict(function["maps"])
                    )
                    for name, function in content["functions"].items()
                },
            )
        except (KeyError, TypeError, AttributeError, binascii.Error) as error:
            raise ValueError(f"not a compiled program: {error!r}") from error

# SPDX-License-Identifier: Apache-2.0
"""Compiled BPF program as serializable data: bytecode and map definitions.

Contains no descriptors and no addresses, because these differ on every load and every boot.
"""

import base64
import hashlib
import json
from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Self

INSTRUCTION_SIZE = 8
"""struct bpf_insn (include/uapi/linux/bpf.h): opcode, registers, offset, 32-bit immediate."""

_LOAD_IMMEDIATE_64 = 0x18
_SOURCE_IS_MAP = 1
"""BPF_PSEUDO_MAP_FD in the upper half of the register byte: the immediate is a descriptor."""


class MapSpec(NamedTuple):
    """Attributes of a map as in bpf(2); sizes in bytes."""

    kind: int
    key_size: int
    value_size: int
    max_entries: int
    flags: int


@dataclass(frozen=True)
class Function:
    """One BPF function: its instructions, and which of them load a map's descriptor."""

    code: bytes
    maps: Mapping[int, str]
    """Instruction number -> map name."""

    @classmethod
    def unbound(cls, code: bytes, map_descriptors: Mapping[int, str]) -> Self:
        """Create a function from code that is bound to ``map_descriptors`` (descriptor -> name).

        Raises ``ValueError`` if the code uses another descriptor.
        """
        maps: dict[int, str] = {}
        for number in range(len(code) // INSTRUCTION_SIZE):
            at = number * INSTRUCTION_SIZE
            if code[at] == _LOAD_IMMEDIATE_64 and code[at + 1] >> 4 == _SOURCE_IS_MAP:
                descriptor = int.from_bytes(code[at + 4 : at + 8], "little")
                if descriptor not in map_descriptors:
                    raise ValueError(f"instruction {number} uses an unknown map descriptor")
                maps[number] = map_descriptors[descriptor]
        return cls(code, maps)

    def bound_to(self, descriptors: Mapping[str, int]) -> bytes:
        """Return the instructions with these map descriptors filled in."""
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
        """Serialize as a checksum line followed by JSON."""
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
        """Parse the output of ``dump``. Raises ``ValueError`` if it is anything else."""
        checksum, _, body = data.partition(b"\n")
        if hashlib.sha256(body).hexdigest().encode() != checksum:
            raise ValueError("the checksum does not match")
        try:
            content = json.loads(body)
            maps = {name: _map_spec(**spec) for name, spec in content["maps"].items()}
            functions = {
                name: _function(function["code"], dict(function["maps"]), maps)
                for name, function in content["functions"].items()
            }
            return cls(maps, functions)
        except (KeyError, TypeError, AttributeError, RecursionError, ValueError) as error:
            raise ValueError(f"not a compiled program: {error!r}") from error


def _map_spec(**attributes: int) -> MapSpec:
    """Raises ``TypeError`` or ``ValueError`` if these are not what bpf(2) takes."""
    if any(type(number) is not int or number >> 32 for number in attributes.values()):
        raise ValueError(f"the attributes of a map are {attributes}")
    return MapSpec(**attributes)


def _function(code: str, maps: Mapping[int, str], known: Container[str]) -> Function:
    """Raises ``TypeError`` or ``ValueError`` if ``maps`` are not in the code, or not known."""
    instructions = base64.b64decode(code, validate=True)
    count, rest = divmod(len(instructions), INSTRUCTION_SIZE)
    if rest or any(type(at) is not int or at not in range(count) for at in maps):
        raise ValueError(f"a function of {len(instructions)} bytes has maps at {list(maps)}")
    if unknown := [name for name in maps.values() if name not in known]:
        raise ValueError(f"a function uses the unknown maps {unknown}")
    return Function(instructions, maps)

# SPDX-License-Identifier: Apache-2.0
"""Compiled BPF program as serializable data: bytecode and map definitions.

Contains no descriptors and no addresses, because these differ on every load and every boot.
"""

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Self

INSTRUCTION_SIZE = 8
"""struct bpf_insn (include/uapi/linux/bpf.h): opcode, registers, offset, 32-bit immediate."""

ELEMENTS = {"task_slots": 0x68766F_5F656C_0001, "settings": 0x68766F_5F656C_0002}
"""Maps of one element, and the number that stands for the element's address in the C
(``HVO_ELEMENT_OF_*``): BCC's C has no other way to say it."""

_LOAD_IMMEDIATE_64 = 0x18  # of two instructions: the immediates are its lower and its upper half
_SOURCE_IS_MAP, _SOURCE_IS_ELEMENT = 1, 2
"""BPF_PSEUDO_MAP_FD and _VALUE (Linux 5.2) in the upper half of the register byte: the lower
immediate is a descriptor; loaded is the map, or the address of its only element."""
_ELEMENT_OF = {number: name for name, number in ELEMENTS.items()}


class MapSpec(NamedTuple):
    """Attributes of a map as in bpf(2); sizes in bytes."""

    kind: int
    key_size: int
    value_size: int
    max_entries: int
    flags: int


@dataclass(frozen=True)
class Function:
    """One BPF function: its instructions, and which of them load a map or its only element."""

    code: bytes
    maps: Mapping[int, str]
    """Instruction number -> map name."""
    elements: Mapping[int, str] = field(default_factory=dict)
    """The same of those that load the address of the map's only element."""

    @classmethod
    def unbound(cls, code: bytes, map_descriptors: Mapping[int, str]) -> Self:
        """Create a function from code that is bound to ``map_descriptors`` (descriptor -> name).

        Raises ``ValueError`` if the code uses another descriptor.
        """
        maps: dict[int, str] = {}
        elements: dict[int, str] = {}
        for number in range(len(code) // INSTRUCTION_SIZE):
            at = number * INSTRUCTION_SIZE
            if code[at] != _LOAD_IMMEDIATE_64:
                continue
            lower, upper = code[at + 4 : at + 8], code[at + 12 : at + 16]
            if code[at + 1] >> 4 == _SOURCE_IS_MAP:
                descriptor = int.from_bytes(lower, "little")
                if descriptor not in map_descriptors:
                    raise ValueError(f"instruction {number} uses an unknown map descriptor")
                maps[number] = map_descriptors[descriptor]
            elif name := _ELEMENT_OF.get(int.from_bytes(lower + upper, "little")):
                elements[number] = name
        return cls(code, maps, elements)

    def bound_to(self, descriptors: Mapping[str, int]) -> bytes:
        """Return the instructions with these map descriptors filled in."""
        code = bytearray(self.code)
        for number, name in self.maps.items():
            at = number * INSTRUCTION_SIZE + 4
            code[at : at + 4] = descriptors[name].to_bytes(4, "little")
        for number, name in self.elements.items():
            at = number * INSTRUCTION_SIZE
            code[at + 1] |= _SOURCE_IS_ELEMENT << 4
            code[at + 4 : at + 8] = descriptors[name].to_bytes(4, "little")
            code[at + 12 : at + 16] = bytes(4)  # offset in the element
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
                        "elements": list(function.elements.items()),
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
                name: _function(
                    function["code"], dict(function["maps"]), dict(function["elements"]), maps
                )
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


def _function(
    code: str, maps: Mapping[int, str], elements: Mapping[int, str], known: Iterable[str]
) -> Function:
    """Raises ``TypeError`` or ``ValueError`` if what it loads is not in the code, or not known."""
    instructions = base64.b64decode(code, validate=True)
    count, rest = divmod(len(instructions), INSTRUCTION_SIZE)
    # A load is of two instructions: the second one is in the code, too.
    loads = [*maps, *elements]
    if rest or any(type(at) is not int or at not in range(count - 1) for at in loads):
        raise ValueError(f"a function of {len(instructions)} bytes has maps at {loads}")
    if unknown := {*maps.values(), *elements.values()}.difference(known):
        raise ValueError(f"a function uses the unknown maps {sorted(unknown)}")
    return Function(instructions, maps, elements)

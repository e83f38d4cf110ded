# SPDX-License-Identifier: Apache-2.0
"""Offsets of union bpf_attr (include/uapi/linux/bpf.h); the calls themselves run in guests."""

import struct
from pathlib import Path

import pytest

from probes.bpf import load
from probes.bpf.load import create_maps, load_program
from probes.bpf.object_code import MapSpec


def descriptors() -> list[str]:
    return sorted(path.name for path in Path("/proc/self/fd").iterdir())


def test_a_map() -> None:
    packed = load._MAP.pack(2, 4, 4096, 23, 0x400, 0, 0, b"counters")
    assert struct.unpack_from("=IIIII", packed) == (2, 4, 4096, 23, 0x400)
    assert packed[28:] == b"counters" + bytes(8)


def test_a_program() -> None:
    packed = load._LOAD.pack(26, 2, 11, 12, 1, 13, 14, 0, 0, b"name", 0, 24, 509)
    assert struct.unpack_from("=IIQQ", packed) == (26, 2, 11, 12)
    assert struct.unpack_from("=IIQ", packed, 24) == (1, 13, 14)
    assert packed[48:64] == b"name" + bytes(12)
    assert struct.unpack_from("=I", packed, 68) == (24,)
    assert struct.unpack_from("=I", packed, 108) == (509,)


def test_an_element_and_a_trampoline() -> None:
    assert struct.unpack("=I4xQQQ", load._UPDATE.pack(5, 11, 12, 13)) == (5, 11, 12, 13)
    assert struct.unpack("=QI4x", load._OPEN.pack(0, 7)) == (0, 7)


@pytest.mark.parametrize(
    ("name", "object_name"),
    [
        ("counters", b"counters"),
        ("kfunc__vmlinux__free_huge_page_vmemmap", b"kfunc__vmlinux_"),
        ("remap_pte.part.0", b"remap_pte_part_"),
    ],
)
def test_names_of_objects(name: str, object_name: bytes) -> None:
    assert load._object_name(name) == object_name


def test_what_this_kernel_refuses_is_named_and_leaves_no_descriptor() -> None:
    before = descriptors()
    with pytest.raises(OSError, match=r"the kernel refused map impossible \("):
        create_maps({"impossible": MapSpec(2, 3, 0, 0, 0)})
    with pytest.raises(OSError, match=r"the kernel refused program empty \("):
        load_program(load.KPROBE, b"", "empty")
    assert descriptors() == before

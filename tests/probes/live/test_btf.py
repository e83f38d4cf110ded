# SPDX-License-Identifier: Apache-2.0
"""A BTF blob written by hand from Documentation/bpf/btf.rst."""

import struct

import pytest

from probes.live.btf import Btf
from probes.live.program import KernelFacts, kernel_facts

INT, PTR, ARRAY, STRUCT, UNION, FUNC, FUNC_PROTO, ENUM64 = 1, 2, 3, 4, 5, 12, 13, 19


class Blob:
    """Collects types; type ids count from 1."""

    def __init__(self) -> None:
        self.strings = b"\0"
        self.types = b""

    def name(self, text: str) -> int:
        if not text:
            return 0
        self.strings += text.encode() + b"\0"
        return len(self.strings) - len(text) - 1

    def add(self, kind: int, name: str, size: int, tail: bytes = b"", count: int = 0) -> None:
        self.types += struct.pack("<III", self.name(name), kind << 24 | count, size) + tail

    def struct(
        self, name: str, size: int, *members: tuple[str, int, int], kind: int = STRUCT
    ) -> None:
        tail = b"".join(struct.pack("<III", self.name(n), t, 8 * at) for n, t, at in members)
        self.add(kind, name, size, tail, len(members))

    def bytes(self) -> bytes:
        sizes = (0, len(self.types), len(self.types), len(self.strings))
        return struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, *sizes) + self.types + self.strings


Members = tuple[tuple[str, int, int], ...]


def kernel(walk_members: Members, zone_members: Members = ()) -> bytes:
    blob = Blob()
    blob.add(INT, "unsigned int", 4, bytes(4))  # 1
    blob.add(ARRAY, "", 0, struct.pack("<III", 1, 1, 1024))  # 2: unsigned int [1024]
    blob.add(ENUM64, "big", 8, bytes(24), 2)  # 3: to be stepped over
    blob.struct("hstate", 5000, ("order", 1, 40), ("nr_huge_pages_node", 2, 80))  # 4
    blob.struct("", 8, ("flags", 1, 0), kind=UNION)  # 5
    blob.struct("page", 64, ("", 5, 8))  # 6: flags within an anonymous union at 8
    blob.struct("vmemmap_remap_walk", 40, *walk_members)  # 7
    blob.add(FUNC_PROTO, "", 1, bytes(3 * 8), 3)  # 8
    blob.add(FUNC, "vmemmap_remap_range", 8)  # 9
    blob.struct("zone", 1700, *zone_members)  # 10
    return blob.bytes()


UNTIL_7_0 = (
    ("remap_pte", 1, 0),
    ("nr_walked", 1, 8),
    ("reuse_page", 1, 16),
    ("reuse_addr", 1, 24),
)
FROM_7_1 = (("remap_pte", 1, 0), ("nr_walked", 1, 8), ("vmemmap_head", 1, 16))


def test_the_facts_that_the_probes_need() -> None:
    assert kernel_facts(Btf(kernel(UNTIL_7_0))) == KernelFacts(
        hstate_order=40,
        page_flags=8,
        struct_page_size=64,
        nodes_shift=10,
        walk_nr_walked=8,
        walk_head=16,
        walk_skips=True,
        walk_reuse_addr=24,
    )


def test_the_walk_that_is_given_its_head() -> None:
    facts = kernel_facts(Btf(kernel(FROM_7_1)))
    assert (facts.walk_head, facts.walk_skips, facts.walk_reuse_addr) == (16, False, -1)


def test_parameters_of_a_function() -> None:
    btf = Btf(kernel(()))
    assert btf.parameters("vmemmap_remap_range") == 3
    with pytest.raises(KeyError, match="no_such_function"):
        btf.parameters("no_such_function")


def test_what_is_there_and_what_is_not() -> None:
    btf = Btf(kernel(FROM_7_1))
    assert btf.has("vmemmap_remap_walk", "vmemmap_head")
    assert btf.has("page", "flags")
    assert not btf.has("vmemmap_remap_walk", "reuse_page")
    assert not btf.has("no_such_struct", "flags")


def test_what_is_not_there_is_named() -> None:
    btf = Btf(kernel(()))
    with pytest.raises(KeyError, match="no_such_struct"):
        btf.size("no_such_struct")
    with pytest.raises(KeyError, match="no_such_member"):
        btf.offset("page", "no_such_member")


@pytest.mark.parametrize("length", [0, 3, 23])
def test_a_blob_without_a_whole_header(length: int) -> None:
    with pytest.raises(ValueError, match="broken BTF"):
        Btf(kernel(())[:length])


def test_a_blob_cut_in_its_types() -> None:
    blob = kernel(())
    with pytest.raises(ValueError, match="broken BTF"):
        Btf(blob[:60])


def test_a_blob_of_something_else() -> None:
    with pytest.raises(ValueError, match="not BTF"):
        Btf(b"\x7fELF" + bytes(100))

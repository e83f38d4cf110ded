# SPDX-License-Identifier: Apache-2.0
"""Tests of the BTF reader, with blobs built as described in Documentation/bpf/btf.rst."""

import struct
from pathlib import Path

import pytest

from probes.backend import FULL, RANGE
from probes.bpf.kernel_facts import FactsError, KernelFacts, from_btf
from probes.kernel.btf import Btf, Prototype, Struct, read_structs

INT, PTR, ARRAY, STRUCT, UNION = 1, 2, 3, 4, 5
TYPEDEF, CONST, FUNC, FUNC_PROTO, ENUM64 = 8, 10, 12, 13, 19


class Blob:
    """Builder of a BTF blob; type ids count from 1."""

    def __init__(self) -> None:
        self.strings = b"\0"
        self.types = b""
        self.ids: dict[str, int] = {"": 0}
        self.count = 0

    def name(self, text: str) -> int:
        if not text:
            return 0
        self.strings += text.encode() + b"\0"
        return len(self.strings) - len(text) - 1

    def add(self, kind: int, name: str, size: int, tail: bytes = b"", count: int = 0) -> None:
        self.types += struct.pack("<III", self.name(name), kind << 24 | count, size) + tail
        self.count += 1

    def integer(self, name: str) -> None:
        self.add(INT, name, 8, bytes(4))
        self.ids[name] = self.count

    def pointer_to_struct(self, name: str, *, typedef: bool = False) -> None:
        """Add ``const struct name *``; with ``typedef``, a typedef of an anonymous struct."""
        self.struct("" if typedef else name, 8)
        if typedef:
            self.add(TYPEDEF, name, self.count)
        self.add(CONST, "", self.count)
        self.add(PTR, "", self.count)
        self.ids[f"*{name}"] = self.count

    def function(self, name: str, parameters: list[str], *, returns: str) -> None:
        tail = b"".join(struct.pack("<II", 0, self.ids[one]) for one in parameters)
        self.add(FUNC_PROTO, "", self.ids[returns], tail, len(parameters))
        self.add(FUNC, name, self.count)

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
    blob.add(ENUM64, "big", 8, bytes(24), 2)  # 3: must be skipped
    blob.struct("hstate", 5000, ("order", 1, 40), ("nr_huge_pages_node", 2, 80))  # 4
    blob.struct("", 8, ("flags", 1, 0), kind=UNION)  # 5
    blob.struct("page", 64, ("", 5, 8))  # 6: flags within an anonymous union at 8
    blob.struct("vmemmap_remap_walk", 40, *walk_members)  # 7
    blob.struct("zone", 1700, *zone_members)
    blob.integer("long")
    blob.add(PTR, "", 7)
    blob.ids["*walk"] = blob.count
    blob.add(PTR, "", 0)
    blob.ids["*void"] = blob.count
    blob.function("vmemmap_remap_range", ["long", "long", "*walk"], returns="long")
    blob.function("vmemmap_remap_nothing", ["*void"], returns="")
    return blob.bytes()


UNTIL_7_0 = (
    ("remap_pte", 1, 0),
    ("nr_walked", 1, 8),
    ("reuse_page", 1, 16),
    ("reuse_addr", 1, 24),
)
FROM_7_1 = (("remap_pte", 1, 0), ("nr_walked", 1, 8), ("vmemmap_head", 1, 16))


def test_from_btf_reads_all_facts() -> None:
    assert from_btf(Btf(kernel(UNTIL_7_0)), RANGE) == KernelFacts(
        hstate_order=40,
        page_flags=8,
        struct_page_size=64,
        nodes_shift=10,
        walk_nr_walked=8,
        walk_head=16,
        walk_skips=True,
        walk_reuse_addr=24,
    )


def test_a_walk_with_vmemmap_head_does_not_skip_its_first_pte() -> None:
    facts = from_btf(Btf(kernel(FROM_7_1)), RANGE)
    assert (facts.walk_head, facts.walk_skips, facts.walk_reuse_addr) == (16, False, -1)


def test_a_walk_without_nr_walked_supports_full_mode_but_not_range_mode() -> None:
    btf = Btf(kernel((("remap_pte", 1, 0), ("reuse_page", 1, 8), ("reuse_addr", 1, 16))))
    facts = from_btf(btf, FULL)
    assert (facts.walk_nr_walked, facts.walk_head, facts.walk_reuse_addr) == (-1, 8, 16)
    with pytest.raises(FactsError) as raised:
        from_btf(btf, RANGE)
    assert str(raised.value) == (
        "range mode reads vmemmap_remap_walk.nr_walked, which this kernel's BTF does not "
        "describe: use --probe.mode full"
    )


def test_a_walk_without_head_is_rejected_in_range_mode() -> None:
    btf = Btf(kernel((("remap_pte", 1, 0), ("nr_walked", 1, 8))))
    assert from_btf(btf, FULL).walk_head == -1
    with pytest.raises(FactsError, match=r"reads vmemmap_remap_walk\.vmemmap_head"):
        from_btf(btf, RANGE)


def test_a_missing_member_is_reported_by_name() -> None:
    blob = Blob()
    blob.struct("hstate", 8)
    with pytest.raises(FactsError, match=r"^the kernel's BTF does not describe 'hstate\."):
        from_btf(Btf(blob.bytes()), FULL)


def test_prototype_has_parameter_types_and_return() -> None:
    btf = Btf(kernel(()))
    walk = Prototype(("int", "int", "*vmemmap_remap_walk"), returns=True)
    assert btf.prototype("vmemmap_remap_range") == walk
    assert btf.prototype("vmemmap_remap_nothing") == Prototype(("*",), returns=False)
    with pytest.raises(KeyError, match="no_such_function"):
        btf.prototype("no_such_function")


def test_has_is_true_only_for_existing_members() -> None:
    btf = Btf(kernel(FROM_7_1))
    assert btf.has("vmemmap_remap_walk", "vmemmap_head")
    assert btf.has("page", "flags")
    assert not btf.has("vmemmap_remap_walk", "reuse_page")
    assert not btf.has("no_such_struct", "flags")


def test_a_missing_struct_or_member_raises_key_error_with_its_name() -> None:
    btf = Btf(kernel(()))
    with pytest.raises(KeyError, match="no_such_struct"):
        btf.size("no_such_struct")
    with pytest.raises(KeyError, match="no_such_member"):
        btf.offset("page", "no_such_member")


@pytest.mark.parametrize("length", [0, 3, 23])
def test_a_truncated_header_is_rejected(length: int) -> None:
    with pytest.raises(ValueError, match="broken BTF"):
        Btf(kernel(())[:length])


def test_truncated_types_are_rejected() -> None:
    blob = kernel(())
    with pytest.raises(ValueError, match="broken BTF"):
        Btf(blob[:60])


def test_a_file_that_is_not_btf_is_rejected() -> None:
    with pytest.raises(ValueError, match="not BTF"):
        Btf(b"\x7fELF" + bytes(100))


def test_structs_are_read_without_an_index(tmp_path: Path) -> None:
    path = tmp_path / "vmlinux"
    path.write_bytes(kernel(FROM_7_1, (("lock", 1, 0),)))
    found = read_structs(path, ("vmemmap_remap_walk", "zone", "absent"))
    assert found == {
        "vmemmap_remap_walk": Struct(40, frozenset({"remap_pte", "nr_walked", "vmemmap_head"})),
        "zone": Struct(1700, frozenset({"lock"})),
    }
    assert read_structs(tmp_path / "missing", ("zone",)) is None


def test_a_member_of_a_type_that_does_not_exist_is_not_described() -> None:
    blob = Blob()
    blob.struct("page", 64, ("", 509, 0), ("flags", 509, 8))
    btf = Btf(blob.bytes())
    with pytest.raises(KeyError, match=r"page\.flags"):
        btf.offset("page", "flags")
    assert not btf.has("page", "lru")


def test_an_array_of_a_type_that_does_not_exist_has_no_length() -> None:
    blob = Blob()
    blob.struct("hstate", 64, ("nr_huge_pages_node", 509, 8))
    with pytest.raises(KeyError):
        Btf(blob.bytes()).length("hstate", "nr_huge_pages_node")


def test_a_struct_within_itself_does_not_have_its_members_forever() -> None:
    blob = Blob()
    blob.struct("page", 64, ("", 1, 0), ("", 1, 8), ("", 2, 16))
    blob.struct("", 64, ("", 1, 0), ("", 2, 8), ("flags", 1, 24))
    btf = Btf(blob.bytes())
    assert btf.offset("page", "flags") == 40
    assert not btf.has("page", "lru")


def test_a_thousand_anonymous_structs_within_each_other_are_searched() -> None:
    blob = Blob()
    blob.struct("page", 64, ("", 2, 1))
    for number in range(2, 1009):
        blob.struct("", 64, ("", number + 1, 1))
    blob.struct("", 64, ("flags", 1, 23))
    assert Btf(blob.bytes()).offset("page", "flags") == 1008 + 23


def described(parameter: int, *types: tuple[int, int]) -> Prototype:
    """Prototype of a function with one parameter, whose type is one of ``types`` or none."""
    blob = Blob()
    for kind, target in types:
        blob.add(kind, "", target)
    blob.add(FUNC_PROTO, "", 0, struct.pack("<II", 0, parameter), 1)
    blob.add(FUNC, "f", blob.count)
    return Btf(blob.bytes()).prototype("f")


def test_a_typedef_of_itself_is_not_described() -> None:
    with pytest.raises(KeyError):
        described(1, (TYPEDEF, 1))
    with pytest.raises(KeyError):
        described(1, (PTR, 2), (CONST, 3), (TYPEDEF, 2))


def test_a_parameter_of_a_type_that_does_not_exist_is_not_described() -> None:
    with pytest.raises(KeyError):
        described(509)
    with pytest.raises(KeyError):
        described(1, (PTR, 509))


def test_a_variable_list_of_parameters_is_of_no_known_type() -> None:
    assert described(0) == Prototype(("?",), returns=False)


def test_a_function_of_no_prototype_is_not_described() -> None:
    blob = Blob()
    blob.struct("page", 64, ("flags", 1, 0))
    blob.add(FUNC, "f", 1)
    blob.add(FUNC, "g", 509)
    btf = Btf(blob.bytes())
    for function in ("f", "g"):
        with pytest.raises(KeyError):
            btf.prototype(function)


def test_a_name_without_an_end_is_read_to_the_end_of_the_names() -> None:
    blob = Blob()
    blob.struct("page", 64)
    blob.add(PTR, "", 1)
    blob.add(FUNC_PROTO, "", 0, struct.pack("<II", 0, 2), 1)
    blob.add(FUNC, "f", 3)
    blob.strings += b"cut"
    blob.types = struct.pack("<III", len(blob.strings) - 3, STRUCT << 24, 64) + blob.types[12:]
    assert Btf(blob.bytes()).prototype("f") == Prototype(("*cut",), returns=False)

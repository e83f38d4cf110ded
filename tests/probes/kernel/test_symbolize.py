# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from probes.kernel.symbolize import Symbols, SymbolsError, function_of, without_probe

KALLSYMS = """\
ffffffff81000000 T _stext
ffffffff81000100 t hugetlb_vmemmap_optimize
ffffffff81000180 d not_a_function
ffffffff81000200 W set_max_huge_pages
not a line
ffffffffc0000000 t made\t[of_a_module]
"""


@pytest.fixture
def symbols(tmp_path: Path) -> Symbols:
    path = tmp_path / "kallsyms"
    path.write_text(KALLSYMS)
    return Symbols.read(path)


@pytest.mark.parametrize(
    ("address", "name"),
    [
        (0xFFFFFFFF81000100, "hugetlb_vmemmap_optimize+0x0"),
        (0xFFFFFFFF81000190, "hugetlb_vmemmap_optimize+0x90"),
        (0xFFFFFFFF810001FF, "hugetlb_vmemmap_optimize+0xff"),
        (0xFFFFFFFF81000217, "set_max_huge_pages+0x17"),
        (0xFFFFFFFFC0000005, "made+0x5 [of_a_module]"),
        (0x17, "0x17"),
    ],
)
def test_an_address_belongs_to_the_function_before_it(
    symbols: Symbols, address: int, name: str
) -> None:
    assert symbols.name_of(address) == name


def test_a_frame_without_offset_and_module() -> None:
    assert function_of("made+0x5 [of_a_module]") == "made"
    assert function_of("0x17") == "0x17"


def test_hidden_addresses_are_an_error_with_the_fix(tmp_path: Path) -> None:
    path = tmp_path / "kallsyms"
    path.write_text("0000000000000000 T _stext\n0000000000000000 t other\n")
    with pytest.raises(SymbolsError, match=r"sysctl kernel.kptr_restrict=1, and run as root"):
        Symbols.read(path)
    with pytest.raises(SymbolsError, match="No such file or directory"):
        Symbols.read(tmp_path / "none")


OWN = ("bpf_prog_1+0x5 [bpf]", "bpf_trampoline_2+0x6 [bpf]")
KERNEL = ("hugetlb_vmemmap_optimize+0x5", "set_max_huge_pages+0x17")


def test_the_frames_of_a_trampoline_are_left_out() -> None:
    hooked = {"hugetlb_vmemmap_optimize"}
    assert without_probe((*OWN, *KERNEL), hooked) == KERNEL
    assert without_probe(KERNEL, hooked) == KERNEL


def test_without_the_hooked_function_only_bpf_is_left_out() -> None:
    assert without_probe((*OWN, *KERNEL), {"other"}) == KERNEL
    assert without_probe(OWN, {"other"}) == OWN
    assert without_probe((), {"other"}) == ()

# SPDX-License-Identifier: Apache-2.0
"""What a captured symbol table keeps, and that each one can be captured again."""

import re
from pathlib import Path

import pytest

from tests.guests.capture_symbols import CAPTURES, compiler_of, trimmed

FOLDER = Path(__file__).parents[1] / "data" / "kallsyms"
ON_A_MACHINE_OF_ITS_OWN = {"cloud-6.18"}


def test_each_table_has_its_command() -> None:
    assert {path.stem for path in FOLDER.glob("*.txt")} == set(CAPTURES) | ON_A_MACHINE_OF_ITS_OWN


@pytest.mark.parametrize("name", CAPTURES)
def test_the_table_names_its_command(name: str) -> None:
    header = (FOLDER / f"{name}.txt").read_text().splitlines()[0]
    assert re.search(rf"python -m tests\.kernel\.capture_symbols {re.escape(name)} ", header)


@pytest.mark.parametrize(
    ("version", "compiler"),
    [
        (
            "Linux version 6.1.0-56-cloud-amd64 (a@b) (gcc-12 (Debian 12.2.0-14) 12.2.0, "
            "GNU ld (GNU Binutils for Debian) 2.40) #1 SMP",
            "gcc-12 (Debian 12.2.0-14) 12.2.0",
        ),
        (
            "Linux version 6.1.192 (a@b) (Debian clang version 14.0.6, Debian LLD 14.0.6) #1",
            "Debian clang version 14.0.6",
        ),
        ("Linux version", "unknown compiler"),
    ],
)
def test_the_compiler_of_a_kernel(version: str, compiler: str) -> None:
    assert compiler_of(version) == compiler


def test_only_lines_with_such_a_name_are_kept_as_they_are() -> None:
    kept = ["0000000000000000 t vmemmap_remap_pte", "ffffffffc0000000 t a_vmemmap\t[bpf]"]
    other = ["mm/hugetlb_vmemmap.o:", "                 U vmemmap", "ffffffff81000000 T _stext", ""]
    assert trimmed([*other, *kept, *other]) == kept

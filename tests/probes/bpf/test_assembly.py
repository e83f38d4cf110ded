# SPDX-License-Identifier: Apache-2.0
"""Encodings as the kernel's instruction set document has them."""

import pytest

from probes.bpf import assembly as asm


def test_instructions_of_eight_bytes() -> None:
    code = asm.assemble(
        [
            asm.move_number(0, -1),
            asm.move(8, 9),
            asm.read(6, 8, 40),
            asm.write(7, 1, 24),
            asm.write_number(10, 0, -4),
            asm.call(asm.PROBE_READ_KERNEL),
            asm.leave(),
        ]
    )
    assert [code[at : at + 8].hex() for at in range(0, len(code), 8)] == [
        "b7000000ffffffff",
        "bf98000000000000",
        "7986280000000000",
        "7b17180000000000",
        "620afcff00000000",
        "8500000071000000",
        "9500000000000000",
    ]


def test_jumps_go_to_labels_either_way() -> None:
    code = asm.assemble(
        [
            "again",
            asm.jump_if_less(9, 256, "again"),
            asm.jump("end"),
            asm.leave(),
            "end",
            asm.leave(),
        ]
    )
    assert code[:8].hex() == "a509ffff00010000"
    assert code[8:16].hex() == "0500010000000000"


def test_a_label_that_is_missing_is_an_error() -> None:
    with pytest.raises(KeyError, match="nowhere"):
        asm.assemble([asm.jump("nowhere")])

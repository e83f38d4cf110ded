# SPDX-License-Identifier: Apache-2.0
import errno
from pathlib import Path

import pytest

from probes.kernel.kallsyms import has_trampolines, read_symbols

KALLSYMS = """\
ffffffff81000000 T _stext
ffffffff81210da0 t vmemmap_remap_pte
ffffffff82733064 b vmemmap_optimize_enabled
ffffffff82733070 d hpage_freelist
ffffffff82733078 b other_hpage_freelist
ffffffff81c2bf70 ? not_a_vmemmap_symbol
zzzz t broken_vmemmap_address
-ffff t negative_vmemmap_address
0xffff t prefixed_vmemmap_address
ffff_ffff t spaced_vmemmap_address
ffffffff8133\re0 t torn_vmemmap_address
ffffffffc0000000 t vmemmap_of_a_module\t[some_module]
vmemmap_without_address
ffffffff81999999 t vmemmap_remap_pte
"""


def test_read_symbols_returns_only_hvo_symbols_of_the_kernel(tmp_path: Path) -> None:
    (tmp_path / "kallsyms").write_text(KALLSYMS)
    assert read_symbols(tmp_path / "kallsyms") == {
        "vmemmap_remap_pte": 0xFFFFFFFF81210DA0,  # the first of two
        "vmemmap_optimize_enabled": 0xFFFFFFFF82733064,
        "hpage_freelist": 0xFFFFFFFF82733070,
    }


def test_no_symbol_is_lost_between_two_reads(tmp_path: Path) -> None:
    """The file is read in blocks of 1 MiB, which end within lines."""
    names = [f"vmemmap_{number:x}" for number in range(90_000)]
    lines = [f"{at:016x} t {name}" for at, name in enumerate(names, 1)]
    (tmp_path / "kallsyms").write_text("\n".join(lines))  # the last line has no end
    assert (tmp_path / "kallsyms").stat().st_size > 2 << 20
    assert read_symbols(tmp_path / "kallsyms") == {name: at for at, name in enumerate(names, 1)}


def test_an_empty_table_raises_enodata(tmp_path: Path) -> None:
    (tmp_path / "kallsyms").write_text("")
    with pytest.raises(OSError, match="the file is empty") as raised:
        read_symbols(tmp_path / "kallsyms")
    assert raised.value.errno == errno.ENODATA
    (tmp_path / "kallsyms").write_text("ffffffff81000000 T _stext\n")
    assert read_symbols(tmp_path / "kallsyms") == {}


def test_trampolines_need_a_kernel_symbol_and_x86_64(tmp_path: Path) -> None:
    kallsyms = tmp_path / "kallsyms"
    kallsyms.write_text("ffffffff81000000 T bpf_trampoline_link_prog\n")
    symbols = read_symbols(kallsyms)
    assert has_trampolines(symbols, "x86_64")
    assert not has_trampolines(symbols, "aarch64")
    assert not has_trampolines({}, "x86_64")

# SPDX-License-Identifier: Apache-2.0
"""Kernel files that changed their shape: a number is the right one, or there is none."""

import re
from pathlib import Path

import pytest

from probes.accounting import KernelState
from probes.host import Host
from probes.live.symbols import read_symbols
from tests.probes.trees import make_host
from tests.soak.mutate import mutations

pytestmark = pytest.mark.soak

INPUTS = 20_000

KALLSYMS = tuple(
    path.read_bytes() for path in sorted(Path("tests/data/kallsyms").resolve().glob("*6.1*.txt"))
)
VMSTAT = b"nr_free_pages 100\nnr_memmap_pages 509\nnr_memmap_boot_pages 1009\nnr_zspages 0\n"
FOLDER = "sys/devices/system/node/node0/hugepages/hugepages-2048kB"


@pytest.fixture
def host(tmp_path: Path) -> Host:
    files = {
        "sys/devices/system/node/online": "0\n",
        "proc/sys/vm/hugetlb_optimize_vmemmap": "1\n",
        **{f"{FOLDER}/{name}_hugepages": "23\n" for name in ("nr", "free", "surplus")},
    }
    return make_host(tmp_path, files)


def lines(data: bytes) -> list[str]:
    """As Python reads text: any line end will do."""
    return data.decode("ascii", errors="replace").strip().splitlines()


def test_kallsyms(tmp_path: Path) -> None:
    path = tmp_path / "kallsyms"
    excerpts = [b"".join(table.splitlines(keepends=True)[:8]) for table in KALLSYMS]
    words = (b"vmemmap", b" T ", b" t ", b"\t[module]", b"\n", b" ", b"ffffffff81000000", b"\xff")
    seen = 0
    for data in mutations(1009, excerpts, INPUTS, words):
        path.write_bytes(data)
        for name, address in read_symbols(path).items():
            seen += 1
            said = rf"(?m)^[0\s]*{address:x}\s+[tTdDbBrR]\s+{re.escape(name)}\s*$"
            text = data.decode("ascii", errors="replace").lower()
            assert re.search(said.lower() if address else "0", text), data
    assert seen > INPUTS


def test_vmstat(host: Host) -> None:
    words = (b"nr_memmap_pages", b"nr_memmap_boot_pages", b" ", b"\n", b"\xd9\xa3", b"\xff", b"\0")
    state, seen = KernelState(host), 0
    for data in mutations(23, [VMSTAT], INPUTS, words):
        (host.proc / "vmstat").write_bytes(data)
        try:
            pages = state.memmap_pages()
        except ValueError as error:
            assert "vmstat" in str(error)
            continue
        for kind, name in (("boot", "nr_memmap_boot_pages"), ("runtime", "nr_memmap_pages")):
            said = [m[1] for line in lines(data) if (m := re.fullmatch(rf"{name} (\d+)", line))]
            assert (kind in pages) == bool(said), data
            if said:
                seen += 1
                assert pages[kind] in [int(number) for number in said], data
    assert seen > INPUTS / 2


@pytest.mark.parametrize("name", ["nr_hugepages", "free_hugepages"])
def test_pools(host: Host, name: str) -> None:
    path = host.sys.parent / FOLDER / name
    seen = 0
    for data in mutations(509, [b"23\n", b"0\n"], INPUTS // 4, (b"-", b" ", b"\n", b"kB", b"\xff")):
        path.write_bytes(data)
        number = re.fullmatch(r"\s*(\d+)\s*", data.decode("ascii", errors="replace"))
        try:
            pools = list(KernelState(host).pools())
        except ValueError as error:
            assert name in str(error)
            continue
        state = "total" if name == "nr_hugepages" else "free"
        (pages,) = [pool.pages for pool in pools if pool.state == state]
        assert number and pages == int(number[1]), data
        seen += 1
    assert seen > INPUTS / 40


def test_the_list_of_nodes(host: Host) -> None:
    path = host.sys / "devices/system/node/online"
    for data in mutations(1009, [b"0\n", b"0-3,8\n", b"1,5-6\n"], INPUTS // 8, (b",", b"-", b"\n")):
        path.write_bytes(data)
        try:
            pools = list(KernelState(host).pools())
        except ValueError:
            continue
        assert all(pool.pages == 23 for pool in pools), data


def test_the_switch(host: Host) -> None:
    path = host.proc / "sys/vm/hugetlb_optimize_vmemmap"
    for data in mutations(23, [b"0\n", b"1\n"], INPUTS // 8, (b"on", b"\0")):
        path.write_bytes(data)
        try:
            enabled = KernelState(host).enabled()
        except ValueError as error:
            assert "hugetlb_optimize_vmemmap" in str(error)
            continue
        assert int(data.decode("ascii").strip()) == int(enabled is True), data

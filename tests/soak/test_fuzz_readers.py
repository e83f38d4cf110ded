# SPDX-License-Identifier: Apache-2.0
"""Mutated kernel files: a value is correct, or absent."""

import errno
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from exporter.savings.machine import GeometryOptions, target_from_host
from probes.geometry import MIB
from probes.kernel.distribution import FAMILIES, install_bcc, install_headers
from probes.kernel.host import Host
from probes.kernel.hugetlb_state import KernelState
from probes.kernel.kallsyms import read_symbols
from probes.preflight.command_line import values_of
from tests.probes.preflight.test_command_line import NAME, formatted, oracle_output
from tests.probes.trees import make_host
from tests.soak.mutate import mutations

pytestmark = pytest.mark.soak

INPUTS = 20_000

KALLSYMS = tuple(
    path.read_bytes() for path in sorted(Path("tests/data/kallsyms").resolve().glob("*6.1*.txt"))
)
WRAPPED = (b"18446744073709551615", b"18446744073709551616", b"9223372036854775808", b"4294967295")
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
    """Decode as Python reads text, with universal newlines."""
    return data.decode("ascii", errors="replace").strip().splitlines()


def counter(digits: str, bits: int = 64) -> int | None:
    """Return the value of a counter printed like this; None if it is not a number."""
    value = int(digits)
    if value >= 1 << 64:
        return None
    if value >= 1 << 63:
        return value - (1 << 64)
    return value - (1 << 32) if bits == 32 and 1 << 31 <= value < 1 << 32 else value


SYMBOL_EXCERPTS = [b"".join(table.splitlines(keepends=True)[:8]) for table in KALLSYMS]
SYMBOL_WORDS = (
    *(b"vmemmap", b" T ", b" t ", b"\t[module]", b"\n", b" ", b"ffffffff81000000", b"\xff"),
)


def symbols_read(path: Path, data: bytes) -> int:
    """Number of symbols read from ``data``, each of which has a line there."""
    path.write_bytes(data)
    try:
        found = read_symbols(path)
    except OSError as error:
        assert (data, error.errno) == (b"", errno.ENODATA)
        return 0
    text = data.decode("ascii", errors="replace").lower()
    for name, address in found.items():
        reported = rf"(?m)^[0\s]*{address:x}\s+[tTdDbBrR]\s+{re.escape(name)}\s*$"
        assert re.search(reported.lower() if address else "0", text), data
    return len(found)


def test_kallsyms(tmp_path: Path) -> None:
    inputs = mutations(1009, SYMBOL_EXCERPTS, INPUTS, SYMBOL_WORDS)
    assert sum(symbols_read(tmp_path / "kallsyms", data) for data in inputs) > INPUTS


def test_vmstat(host: Host) -> None:
    names = (b"nr_memmap_pages", b"nr_memmap_boot_pages")
    words = (*names, b" ", b"\n", b"\xd9\xa3", b"\xff", b"\0", *WRAPPED)
    state, seen = KernelState(host), 0
    for data in mutations(23, [VMSTAT], INPUTS, words):
        (host.proc / "vmstat").write_bytes(data)
        try:
            pages = state.memmap_pages()
        except ValueError as error:
            assert "vmstat" in str(error)
            continue
        for kind, name in (("boot", "nr_memmap_boot_pages"), ("runtime", "nr_memmap_pages")):
            reported = [m[1] for line in lines(data) if (m := re.fullmatch(rf"{name} (\d+)", line))]
            assert (kind in pages) == bool(reported), data
            if reported:
                seen += 1
                assert pages[kind] in map(counter, reported), data
    assert seen > INPUTS / 2


@pytest.mark.parametrize("name", ["nr_hugepages", "free_hugepages"])
def test_pools(host: Host, name: str) -> None:
    path = host.sys.parent / FOLDER / name
    seen = 0
    words = (b"-", b" ", b"\n", b"kB", b"\xff", *WRAPPED)
    for data in mutations(509, [b"23\n", b"0\n"], INPUTS // 4, words):
        path.write_bytes(data)
        number = re.fullmatch(r"\s*(\d+)\s*", data.decode("ascii", errors="replace"))
        try:
            pools = list(KernelState(host).pools().by_node)
        except ValueError as error:
            assert name in str(error)
            continue
        state = "total" if name == "nr_hugepages" else "free"
        (pages,) = [pool.pages for pool in pools if pool.state == state]
        assert number and pages == counter(number[1], bits=32), data
        seen += 1
    assert seen > INPUTS / 40


def test_the_list_of_nodes(host: Host) -> None:
    path = host.sys / "devices/system/node/online"
    for data in mutations(1009, [b"0\n", b"0-3,8\n", b"1,5-6\n"], INPUTS // 8, (b",", b"-", b"\n")):
        path.write_bytes(data)
        try:
            pools = list(KernelState(host).pools().by_node)
        except ValueError:
            continue
        # Only one node has a folder, whatever the list contains; the machine has none.
        assert {(pool.node, pool.pages) for pool in pools} in ({(0, 23)}, set()), data


def test_the_switch(host: Host) -> None:
    path = host.proc / "sys/vm/hugetlb_optimize_vmemmap"
    for data in mutations(23, [b"0\n", b"1\n"], INPUTS // 8, (b"on", b"\0")):
        path.write_bytes(data)
        try:
            enabled = KernelState(host).switch()
        except ValueError as error:
            assert "hugetlb_optimize_vmemmap" in str(error)
            continue
        assert int(data.decode("ascii").strip()) == int(enabled is True), data


TOTAL = "hugepages-2048kB/nr_hugepages"


def odd_tree(random: Random, root: Path) -> tuple[Host, dict[int, int], int]:
    """Make a machine whose nodes show a pool or none; return pages per node, and the total."""
    files: dict[str, str] = {}
    shown: dict[int, int] = {}
    hidden = 0
    nodes = random.sample(range(12), random.randint(1, 5))
    listed = [node for node in nodes if random.random() < 0.9] or nodes[:1]
    for node in nodes:
        pages = random.choice((0, 1, 23, 509, 4294967295, 18446744073709551614))
        signed = counter(str(pages), bits=32)
        assert signed is not None
        match random.randrange(3):
            case 0:  # no memory: no folder before Linux 6.1
                files[f"sys/devices/system/node/node{node}/distance"] = "10\n"
            case 1:  # another size only
                files[f"sys/devices/system/node/node{node}/hugepages/hugepages-4kB/x"] = ""
            case _:
                files[f"sys/devices/system/node/node{node}/hugepages/{TOTAL}"] = f"{pages}\n"
                if node in listed:
                    shown[node] = signed
                else:
                    hidden += max(signed, 0)
    if random.random() < 0.8:
        files["sys/devices/system/node/online"] = ",".join(map(str, sorted(listed))) + "\n"
    else:  # without a list, the folders count
        folders = {int(name.split("/")[4].removeprefix("node")) for name in files}
        shown = {}
        for node in folders:
            text = files.get(f"sys/devices/system/node/node{node}/hugepages/{TOTAL}")
            if text is not None and (signed := counter(text, bits=32)) is not None:
                shown[node] = signed
        hidden = 0
    whole = sum(max(pages, 0) for pages in shown.values()) + hidden + random.choice((0, 0, 7))
    files[f"sys/kernel/mm/hugepages/{TOTAL}"] = f"{whole}\n"
    return make_host(root, files), shown, whole


def test_odd_trees_of_nodes(tmp_path: Path) -> None:
    random, memoryless = Random(509), 0
    for number in range(INPUTS // 20):
        root = tmp_path / str(number)
        host, shown, whole = odd_tree(random, root)
        pools = {p.node: p.pages for p in KernelState(host).pools().by_node if p.state == "total"}
        assert pools == shown, root
        target = target_from_host(host, 4096, GeometryOptions())
        assert sum(d.count for d in target.demands if d.size == 2 * MIB) == whole, root
        memoryless += not shown
        shutil.rmtree(root)
    assert memoryless > INPUTS / 400


LINES = (
    b"BOOT_IMAGE=/vmlinuz root=/dev/vda1 ro quiet hugetlb_free_vmemmap=on",
    b'dyndbg="file mm/hugetlb_vmemmap.c +p; hugetlb_free_vmemmap=on" "hugetlb-free-vmemmap=1" x',
    b'ro "hugetlb_free_vmemmap" -- hugetlb_free_vmemmap=off',
)


def command_lines() -> Iterator[bytes]:
    words = (
        b'"',
        b"=",
        b" ",
        b"\t",
        b"--",
        b" -- ",
        b"hugetlb_free_vmemmap",
        b"on",
        b"\x1f",
        b"\v",
    )
    for data in mutations(1009, LINES, INPUTS * 2, words):
        yield data.replace(b"\n", b" ").replace(b"\0", b"")


@pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler")
def test_command_lines(tmp_path: Path) -> None:
    """Parsing equals that of C code, character by character."""
    lines = [data.decode("ascii", "replace").encode() for data in command_lines()]
    reported = oracle_output(tmp_path, lines)
    assert len(reported) == len(lines)
    given = 0
    for line, words in zip(lines, reported, strict=True):
        assert formatted(line.decode()) == words.decode(), line
        given += bool(values_of(line.decode(), NAME))
    assert given > INPUTS / 2


OS_RELEASES = (
    *(b'NAME="Fedora Linux"\nID=fedora\n', b'ID="ol"\nID_LIKE="fedora"\n', b"ID=arch\n"),
)
OS_WORDS = (
    *(b'"', b"'", b"\\", b"=", b"ID=", b"ID_LIKE=", b"\n", b"#", b"$(", b"debian", b"\xff"),
)


def advice(path: Path, data: bytes) -> str:
    """What to install according to ``data``: a command that the tables have, or all of them."""
    path.write_bytes(data)
    told = install_bcc(path)
    known = {f"{family.install} {family.bcc}" for family in FAMILIES.values()}
    assert told in known or " (Fedora: " in told, data
    assert "6.1.0-56" in install_headers("6.1.0-56-amd64", path) or told in known, data
    return told


def test_os_release(tmp_path: Path) -> None:
    path = tmp_path / "os-release"
    inputs = mutations(23, OS_RELEASES, INPUTS // 2, OS_WORDS)
    assert len({advice(path, data) for data in inputs}) >= 3

# SPDX-License-Identifier: Apache-2.0
import re
from pathlib import Path

import pytest

from probes.geometry import GIB, MIB
from probes.kernel.hugetlb_state import KernelState, huge_page_sizes
from probes.observation import Absent, Pool
from tests.probes.trees import make_host

NODE = "sys/devices/system/node"
POOL = "sys/kernel/mm/hugepages/hugepages-2048kB"
SWITCH = "proc/sys/vm/hugetlb_optimize_vmemmap"


def pool(folder: str, total: str, free: str, surplus: str) -> dict[str, str]:
    return {
        f"{folder}/nr_hugepages": total,
        f"{folder}/free_hugepages": free,
        f"{folder}/surplus_hugepages": surplus,
    }


def test_pools_has_total_free_and_surplus_of_each_node(tmp_path: Path) -> None:
    host = make_host(
        tmp_path,
        {
            f"{NODE}/online": "0-1\n",
            **pool(f"{NODE}/node0/hugepages/hugepages-2048kB", "12\n", "5\n", "0\n"),
            **pool(f"{NODE}/node1/hugepages/hugepages-2048kB", "11\n", "11\n", "2\n"),
            **pool(f"{NODE}/node1/hugepages/hugepages-1048576kB", "1\n", "0\n", "0\n"),
        },
    )
    assert list(KernelState(host).pools().by_node) == [
        Pool(2 * MIB, 0, "total", 12),
        Pool(2 * MIB, 0, "free", 5),
        Pool(2 * MIB, 0, "surplus", 0),
        Pool(2 * MIB, 1, "total", 11),
        Pool(2 * MIB, 1, "free", 11),
        Pool(2 * MIB, 1, "surplus", 2),
        Pool(GIB, 1, "total", 1),
        Pool(GIB, 1, "free", 0),
        Pool(GIB, 1, "surplus", 0),
    ]


def test_without_numa_the_machine_is_node_0(tmp_path: Path) -> None:
    host = make_host(tmp_path, pool("sys/kernel/mm/hugepages/hugepages-2048kB", "3", "2", "1"))
    assert [tuple(p) for p in KernelState(host).pools().by_node] == [
        (2 * MIB, 0, "total", 3),
        (2 * MIB, 0, "free", 2),
        (2 * MIB, 0, "surplus", 1),
    ]


def test_a_missing_file_makes_only_its_value_absent(tmp_path: Path) -> None:
    host = make_host(
        tmp_path,
        {
            "sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages": "2\n",
            "sys/kernel/mm/hugepages/hugepages-oddkB/nr_hugepages": "1\n",
        },
    )
    assert list(KernelState(host).pools().by_node) == [Pool(2 * MIB, 0, "free", 2)]


def test_reserved_and_overcommit_are_counted_per_machine(tmp_path: Path) -> None:
    host = make_host(
        tmp_path,
        {
            "sys/kernel/mm/hugepages/hugepages-2048kB/resv_hugepages": "7\n",
            "sys/kernel/mm/hugepages/hugepages-2048kB/nr_overcommit_hugepages": "509\n",
            "sys/kernel/mm/hugepages/hugepages-1048576kB/resv_hugepages": "0\n",
        },
    )
    state = KernelState(host)
    assert state.pools().reserved == {2 * MIB: 7, GIB: 0}
    assert state.pools().overcommit == {2 * MIB: 509}


@pytest.mark.parametrize(("text", "enabled"), [("0\n", False), ("1\n", True)])
def test_switch_is_the_value_of_the_sysctl(tmp_path: Path, text: str, enabled: bool) -> None:
    host = make_host(tmp_path, {SWITCH: text})
    assert KernelState(host).switch() is enabled


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (f"{POOL}/nr_hugepages", "many\n", "nr_hugepages: not a number: 'many'"),
        (f"{POOL}/resv_hugepages", "\n", "resv_hugepages: not a number: ''"),
        (
            f"{POOL}/nr_overcommit_hugepages",
            "1 2\n",
            "nr_overcommit_hugepages: not a number: '1 2'",
        ),
        (SWITCH, "?\n", "hugetlb_optimize_vmemmap: not a number: '?'"),
        (SWITCH, "2\n", "hugetlb_optimize_vmemmap: invalid value 2 (expected 0 or 1)"),
        ("proc/vmstat", "nr_memmap_pages x\n", "vmstat: not a number: 'nr_memmap_pages x'"),
    ],
)
def test_a_malformed_file_is_rejected_with_its_path(
    tmp_path: Path, name: str, text: str, message: str
) -> None:
    state = KernelState(make_host(tmp_path, {name: text}))
    with pytest.raises(ValueError, match=re.escape(message)):
        _ = (state.pools(), state.switch(), state.memmap_pages())


def test_memmap_pages_are_read_from_vmstat(tmp_path: Path) -> None:
    vmstat = "nr_free_pages 5000\nnr_memmap_pages 64\nnr_memmap_boot_pages 98240\n"
    host = make_host(tmp_path, {"proc/vmstat": vmstat})
    assert KernelState(host).memmap_pages() == {"runtime": 64, "boot": 98240}


def test_values_that_an_older_kernel_lacks_are_absent(tmp_path: Path) -> None:
    state = KernelState(make_host(tmp_path, {"proc/vmstat": "nr_free_pages 5000\n"}))
    assert state.memmap_pages() == {}
    assert state.switch() == Absent(f"{tmp_path / SWITCH} does not exist (Linux 5.19)")
    assert list(state.pools().by_node) == []


def test_huge_page_sizes_are_sorted(tmp_path: Path) -> None:
    folder = "sys/kernel/mm/hugepages"
    host = make_host(
        tmp_path,
        {f"{folder}/hugepages-{kb}kB/nr_hugepages": "0" for kb in (1048576, 2048)},
    )
    assert huge_page_sizes(host) == (2 * MIB, GIB)
    assert huge_page_sizes(make_host(tmp_path / "empty", {})) == ()


def hidden_node(path: str) -> dict[str, str]:
    return pool(f"{NODE}/{path}/hugepages/hugepages-2048kB", "23\n", "0\n", "0\n")


def test_a_node_without_hugepages_folder_has_no_pool(tmp_path: Path) -> None:
    """Before Linux 6.1, nodes 1 and 3, without memory, do not get the machine's 532 pages."""
    host = make_host(
        tmp_path,
        {
            f"{NODE}/online": "0-3\n",
            f"{NODE}/node1/distance": "10 12\n",
            **pool("sys/kernel/mm/hugepages/hugepages-2048kB", "532\n", "0\n", "0\n"),
            **pool(f"{NODE}/node0/hugepages/hugepages-2048kB", "23\n", "0\n", "0\n"),
            **pool(f"{NODE}/node2/hugepages/hugepages-2048kB", "509\n", "0\n", "0\n"),
        },
    )
    totals = {p.node: p.pages for p in KernelState(host).pools().by_node if p.state == "total"}
    assert totals == {0: 23, 2: 509}
    assert KernelState(host).totals() == {2 * MIB: 532}


def test_a_single_node_without_pool_files_does_not_get_the_machine_counts(tmp_path: Path) -> None:
    host = make_host(
        tmp_path,
        {
            f"{NODE}/online": "0-1\n",
            **pool("sys/kernel/mm/hugepages/hugepages-2048kB", "532\n", "0\n", "0\n"),
        },
    )
    assert list(KernelState(host).pools().by_node) == []


def test_without_a_node_list_the_node_folders_are_used(tmp_path: Path) -> None:
    files = {
        **pool("sys/kernel/mm/hugepages/hugepages-2048kB", "46\n", "0\n", "0\n"),
        **hidden_node("node0"),
        **hidden_node("node7"),
    }
    pools = KernelState(make_host(tmp_path, files)).pools()
    assert [(p.node, p.pages) for p in pools.by_node if p.state == "total"] == [(0, 23), (7, 23)]


def test_a_folder_that_can_not_be_listed_raises_os_error(tmp_path: Path) -> None:
    host = make_host(tmp_path, pool(POOL, "3", "2", "1"))
    folder = tmp_path / "sys/kernel/mm/hugepages"
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(folder)  # ELOOP: even root can't list it
    with pytest.raises(OSError, match="symbolic links"):
        list(KernelState(host).pools().by_node)
    with pytest.raises(OSError, match="symbolic links"):
        huge_page_sizes(host)


WRAPPED = "18446744073709551615\n"


def test_a_wrapped_reservation_is_negative(tmp_path: Path) -> None:
    host = make_host(tmp_path, {f"{POOL}/resv_hugepages": WRAPPED})
    assert KernelState(host).pools().reserved == {2 * MIB: -1}


def test_node_counters_have_32_bits_and_machine_counters_64(tmp_path: Path) -> None:
    """nr_huge_pages_node[] and similar are unsigned int, printed as unsigned long."""
    files = {
        f"{NODE}/online": "0\n",
        **pool(f"{NODE}/node0/hugepages/hugepages-2048kB", "23\n", "4294967294\n", WRAPPED),
    }
    counts = {
        p.state: p.pages for p in KernelState(make_host(tmp_path / "numa", files)).pools().by_node
    }
    assert counts == {"total": 23, "free": -2, "surplus": -1}
    flat = make_host(tmp_path / "flat", pool(POOL, "4294967294\n", "0\n", "0\n"))
    assert KernelState(flat).pools().by_node[0].pages == 4294967294


def test_an_unlimited_overcommit_is_absent(tmp_path: Path) -> None:
    host = make_host(tmp_path, {f"{POOL}/nr_overcommit_hugepages": WRAPPED})
    assert KernelState(host).pools().overcommit == {}


def test_wrapped_memmap_pages_are_negative(tmp_path: Path) -> None:
    vmstat = "nr_memmap_pages 18446744073709537280\nnr_memmap_boot_pages 131072\n"
    host = make_host(tmp_path, {"proc/vmstat": vmstat})
    assert KernelState(host).memmap_pages() == {"runtime": -14336, "boot": 131072}


def test_a_counter_of_more_than_64_bits_is_rejected(tmp_path: Path) -> None:
    host = make_host(tmp_path, {"proc/vmstat": "nr_memmap_pages 18446744073709551616\n"})
    with pytest.raises(ValueError, match="vmstat: not a number"):
        KernelState(host).memmap_pages()

# SPDX-License-Identifier: Apache-2.0
import re
from pathlib import Path

import pytest

from probes.accounting import KernelState, Pool, huge_page_sizes
from probes.geometry import GIB, MIB
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


def test_pools_of_each_node(tmp_path: Path) -> None:
    host = make_host(
        tmp_path,
        {
            f"{NODE}/online": "0-1\n",
            **pool(f"{NODE}/node0/hugepages/hugepages-2048kB", "12\n", "5\n", "0\n"),
            **pool(f"{NODE}/node1/hugepages/hugepages-2048kB", "11\n", "11\n", "2\n"),
            **pool(f"{NODE}/node1/hugepages/hugepages-1048576kB", "1\n", "0\n", "0\n"),
        },
    )
    assert list(KernelState(host).pools()) == [
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


def test_a_kernel_without_numa_has_one_node(tmp_path: Path) -> None:
    host = make_host(tmp_path, pool("sys/kernel/mm/hugepages/hugepages-2048kB", "3", "2", "1"))
    assert [tuple(p) for p in KernelState(host).pools()] == [
        (2 * MIB, 0, "total", 3),
        (2 * MIB, 0, "free", 2),
        (2 * MIB, 0, "surplus", 1),
    ]


def test_a_file_that_is_missing_costs_its_own_value(tmp_path: Path) -> None:
    host = make_host(
        tmp_path,
        {
            "sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages": "2\n",
            "sys/kernel/mm/hugepages/hugepages-oddkB/nr_hugepages": "1\n",
        },
    )
    assert list(KernelState(host).pools()) == [Pool(2 * MIB, 0, "free", 2)]


def test_what_belongs_to_no_node(tmp_path: Path) -> None:
    host = make_host(
        tmp_path,
        {
            "sys/kernel/mm/hugepages/hugepages-2048kB/resv_hugepages": "7\n",
            "sys/kernel/mm/hugepages/hugepages-2048kB/nr_overcommit_hugepages": "509\n",
            "sys/kernel/mm/hugepages/hugepages-1048576kB/resv_hugepages": "0\n",
        },
    )
    state = KernelState(host)
    assert state.reserved() == {2 * MIB: 7, GIB: 0}
    assert state.overcommit() == {2 * MIB: 509}


@pytest.mark.parametrize(("text", "enabled"), [("0\n", False), ("1\n", True)])
def test_the_switch(tmp_path: Path, text: str, enabled: bool) -> None:
    host = make_host(tmp_path, {SWITCH: text})
    assert KernelState(host).enabled() is enabled


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        (f"{POOL}/nr_hugepages", "many\n", "nr_hugepages is no number: 'many'"),
        (f"{POOL}/resv_hugepages", "\n", "resv_hugepages is no number: ''"),
        (f"{POOL}/nr_overcommit_hugepages", "1 2\n", "is no number: '1 2'"),
        (SWITCH, "?\n", "hugetlb_optimize_vmemmap is no number: '?'"),
        (SWITCH, "2\n", "hugetlb_optimize_vmemmap is neither 0 nor 1: 2"),
        ("proc/vmstat", "nr_memmap_pages x\n", "vmstat has no number here: 'nr_memmap_pages x'"),
    ],
)
def test_a_file_that_says_something_else_is_named(
    tmp_path: Path, name: str, text: str, says: str
) -> None:
    state = KernelState(make_host(tmp_path, {name: text}))
    with pytest.raises(ValueError, match=re.escape(says)):
        _ = (
            list(state.pools()),
            state.reserved(),
            state.overcommit(),
            state.enabled(),
            state.memmap_pages(),
        )


def test_memmap_pages(tmp_path: Path) -> None:
    vmstat = "nr_free_pages 5000\nnr_memmap_pages 64\nnr_memmap_boot_pages 98240\n"
    host = make_host(tmp_path, {"proc/vmstat": vmstat})
    assert KernelState(host).memmap_pages() == {"runtime": 64, "boot": 98240}


def test_an_older_kernel_shows_less(tmp_path: Path) -> None:
    state = KernelState(make_host(tmp_path, {"proc/vmstat": "nr_free_pages 5000\n"}))
    assert state.memmap_pages() == {}
    assert state.enabled() is None
    assert list(state.pools()) == []


def test_sizes(tmp_path: Path) -> None:
    folder = "sys/kernel/mm/hugepages"
    host = make_host(
        tmp_path,
        {f"{folder}/hugepages-{kb}kB/nr_hugepages": "0" for kb in (1048576, 2048)},
    )
    assert huge_page_sizes(host) == (2 * MIB, GIB)
    assert huge_page_sizes(make_host(tmp_path / "empty", {})) == ()

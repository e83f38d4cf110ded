# SPDX-License-Identifier: Apache-2.0
"""The simulated /proc and /sys say what the simulated kernel knows, to readers of the real ones."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probes.geometry import GIB, KIB, MIB, Geometry
from probes.kernel.btf import Btf
from probes.kernel.host import Host, online_nodes, possible_cpus, possible_nodes
from probes.kernel.hugetlb_state import KernelState, huge_page_sizes
from probes.observation import Absent, Pools, known
from probes.observer import HugetlbState
from probes.operations import Operation
from sim_backend.kernel.errors import OperationError
from sim_backend.kernel.procfs import MachineFiles
from sim_backend.kernel.sim_kernel import SimKernel
from sim_backend.scenario.actions import Action, parse_action
from sim_backend.scenario.perform import perform
from tests.sim_backend.harness import ALL
from tests.sim_backend.scenario.test_perform import ACTIONS


def kernel_of(generation: str, nodes: int = 2) -> SimKernel:
    return SimKernel(
        generation,
        huge_page_sizes=(64 * KIB, 2 * MIB, 32 * MIB),
        nodes=nodes,
        memory_per_node=256 * MIB,
    )


def meminfo(host: Host) -> dict[str, int]:
    """Values of /proc/meminfo, kB where it says so."""
    rows = (line.split() for line in (host.proc / "meminfo").read_text().splitlines())
    return {name.rstrip(":"): int(value) for name, value, *_ in rows}


def pools_of(state: HugetlbState) -> Pools:
    """Whatever order the files were in."""
    pools = state.pools()
    return replace(pools, by_node=tuple(sorted(pools.by_node)))


def compare(kernel: SimKernel, files: MachineFiles) -> None:
    state = KernelState(files.host, kernel.geometry.page_size)
    assert pools_of(state) == pools_of(kernel)
    assert known(state.switch()) == (kernel.switch() if kernel.generation.sysctl else None)
    counted = kernel.memmap_pages() if kernel.generation.memmap_counters else {}
    assert state.memmap_pages() == counted
    assert known(state.saved_bytes(counted)) == (kernel.saved_bytes(counted) if counted else None)
    accounts, memory = kernel.accounts(), meminfo(files.host)
    assert memory["MemTotal"] == accounts.mem_total * 4
    assert memory["MemFree"] == accounts.free * 4
    assert memory["Hugetlb"] == accounts.hugetlb * 4
    pools = {pool.state: 0 for pool in kernel.pools().by_node}
    for pool in kernel.pools().by_node:
        if pool.size == 2 * MIB:
            pools[pool.state] += pool.pages
    assert memory["HugePages_Total"] == pools["total"]
    assert memory["HugePages_Free"] == pools["free"]
    assert memory["HugePages_Surp"] == pools["surplus"]
    assert memory["Hugepagesize"] == 2048


@settings(max_examples=25, deadline=None)
@given(generation=st.sampled_from(ALL), actions=st.lists(ACTIONS, max_size=6))
def test_files_equal_the_kernel_after_anything(
    generation: str, actions: list[Operation | Action]
) -> None:
    kernel = kernel_of(generation)
    with TemporaryDirectory() as folder:
        files = MachineFiles(kernel, Path(folder))
        compare(kernel, files)
        for action in actions:
            try:
                perform(kernel, action)
            except OperationError as refusal:
                assert refusal.done >= 0
            files.update()
            compare(kernel, files)


@pytest.mark.parametrize(
    ("generation", "rise"), [("v17", 0), ("v17-enabled", 138), ("6.0", 161), ("7.1", 184)]
)
def test_memory_as_a_person_reads_it(tmp_path: Path, generation: str, rise: int) -> None:
    """MemTotal rises by each boot-time frame that is freed (measured on real kernels)."""
    kernel = kernel_of(generation, nodes=1)
    files = MachineFiles(kernel, tmp_path)
    before = meminfo(files.host)["MemTotal"]
    perform(kernel, parse_action("grow 2MB 23"))
    files.update()
    assert meminfo(files.host)["MemTotal"] - before == rise * 4
    text = (tmp_path / "proc/meminfo").read_text()
    assert "HugePages_Total:      23\n" in text
    assert "Hugepagesize:       2048 kB\n" in text
    assert "Hugetlb:           47104 kB\n" in text
    node = (tmp_path / "sys/devices/system/node/node0/meminfo").read_text().split()
    assert node[:4] == ["Node", "0", "MemTotal:", str(before + rise * 4)]


def test_what_never_changes(tmp_path: Path) -> None:
    kernel = kernel_of("7.1")
    host = MachineFiles(kernel, tmp_path).host
    assert online_nodes(host) == possible_nodes(host) == (0, 1)
    assert possible_cpus(host) == (0, 1, 2, 3)
    assert huge_page_sizes(host) == kernel.huge_page_sizes
    assert Btf.read(host.sys / "kernel/btf/vmlinux").size("page") == 64
    blocks = list((host.sys / "devices/system/memory").glob("memory*"))
    assert len(blocks) == 2 * 256 // 128


def test_no_switch_where_no_size_can_be_optimised(tmp_path: Path) -> None:
    kernel = SimKernel("7.1", huge_page_sizes=(64 * KIB,), memory_per_node=128 * MIB)
    state = KernelState(MachineFiles(kernel, tmp_path).host)
    assert isinstance(state.switch(), Absent)


def test_arm64_with_64k_pages(tmp_path: Path) -> None:
    kernel = SimKernel(
        "7.1",
        geometry=Geometry(64 * KIB),
        huge_page_sizes=(2 * MIB, 512 * MIB),
        memory_per_node=4 * GIB,
    )
    perform(kernel, parse_action("grow 512MB 5"))
    host = MachineFiles(kernel, tmp_path, "aarch64").host
    assert host.machine == "aarch64"
    state = KernelState(host, 64 * KIB)
    assert pools_of(state) == pools_of(kernel)
    counted = kernel.memmap_pages()
    assert state.saved_bytes(counted) == kernel.saved_bytes(counted) == 5 * 7 * 64 * KIB
    assert meminfo(host)["MemTotal"] == kernel.accounts().mem_total * 64
    assert meminfo(host)["Hugepagesize"] == 512 * 1024
    assert (tmp_path / "sys/devices/system/memory/block_size_bytes").read_text() == "20000000\n"


def test_only_what_changed_is_written(tmp_path: Path) -> None:
    kernel = kernel_of("7.1")
    files = MachineFiles(kernel, tmp_path)
    switch, vmstat = tmp_path / "proc/sys/vm/hugetlb_optimize_vmemmap", tmp_path / "proc/vmstat"
    before = switch.stat().st_ino, vmstat.stat().st_ino
    perform(kernel, parse_action("grow 2MB 5"))
    files.update()
    after = switch.stat().st_ino, vmstat.stat().st_ino
    assert after[0] == before[0]
    assert after[1] != before[1]
    assert not list(tmp_path.rglob(".*"))

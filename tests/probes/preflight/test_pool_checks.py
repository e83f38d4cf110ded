# SPDX-License-Identifier: Apache-2.0
"""Verdicts on the pools: what is allocated, and how much of it the census finds optimized."""

from pathlib import Path

import pytest

from probes.census.census import NodeCensus, PoolCensus
from probes.preflight import Finding, Verdict
from probes.preflight.facts import Facts
from probes.preflight.hvo import pools
from tests.probes.preflight_host import BTF, KALLSYMS, SYSCTL, Changes, btf, finding_of, machine

OK, WARNING, PROBLEM, UNKNOWN = Verdict.OK, Verdict.WARNING, Verdict.PROBLEM, Verdict.UNKNOWN
POOL = "sys/kernel/mm/hugepages/hugepages-{}kB/nr_hugepages"
FREE = "sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages"
HVO_ON: Changes = {"proc/cmdline": "quiet hugetlb_free_vmemmap=on\n"}


def test_a_pool_whose_count_is_no_number_is_unknown(tmp_path: Path) -> None:
    finding = finding_of(tmp_path, "pools", {POOL.format(2048): "many\n"})
    what = f"{tmp_path}/{POOL.format(2048)}: not a number: 'many'"
    assert finding == Finding("pools", UNKNOWN, what)


def test_pools_filled_with_hvo_possibly_off_are_unknown(tmp_path: Path) -> None:
    pools: Changes = {POOL.format(2048): "23\n", FREE: "11\n", POOL.format(1 << 20): "1\n"}
    assert finding_of(tmp_path, "pools", pools) == Finding(
        "pools",
        UNKNOWN,
        "23 of 2MB, 1 of 1GB; pages allocated while HVO was off are not optimized "
        "(no census: only the running kernel's memory can be read)",
        "with HVO on, empty the pools and fill them again",
    )


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({KALLSYMS: None}, "{root}/proc/kallsyms can't be read (No such file or directory)"),
        ({BTF: None}, "the kernel has no BTF, which tells where huge pages are kept"),
        ({}, "the kernel's symbol table lacks hstates (CONFIG_KALLSYMS_ALL)"),
    ],
)
def test_why_there_is_no_census_of_the_running_kernel(
    tmp_path: Path, changes: Changes, why: str
) -> None:
    ours = {"proc/sys/kernel/random/boot_id": Path("/proc/sys/kernel/random/boot_id").read_text()}
    finding = finding_of(tmp_path, "pools", {POOL.format(2048): "23\n", **ours, **changes})
    assert f"(no census: {why.format(root=tmp_path)}" in finding.what


@pytest.mark.parametrize(
    ("switch", "verdict", "end"),
    [("1\n", OK, "; HVO has been on since boot"), ("0\n", UNKNOWN, "are not optimized")],
)
def test_pools_are_ok_if_hvo_is_on_since_boot(
    tmp_path: Path, switch: str, verdict: Verdict, end: str
) -> None:
    pools = {POOL.format(2048): "509\n", SYSCTL: switch, **HVO_ON}
    finding = finding_of(tmp_path, "pools", {**pools})
    assert finding.verdict is verdict
    assert finding.what.startswith("509 of 2MB; ")
    assert f"{end} (no census: " in finding.what


@pytest.mark.parametrize(
    ("optimized", "net_frames", "verdict", "says"),
    [
        (37, 7, OK, "37 of 2MB; all optimized, 1.0 MiB saved"),
        (23, 7, WARNING, "37 of 2MB; 23 optimized, 0.6 MiB saved"),
        (0, None, WARNING, "37 of 2MB; 0 optimized, 0.0 MiB saved"),
        (23, None, WARNING, "37 of 2MB; 23 optimized"),
    ],
)
def test_a_census_says_how_many_pages_are_optimized(
    tmp_path: Path, optimized: int, net_frames: int | None, verdict: Verdict, says: str
) -> None:
    host = machine(tmp_path, {POOL.format(2048): "37\n", **HVO_ON})
    census = [PoolCensus(9, net_frames, (NodeCensus(0, 37, optimized),))]
    finding = pools(Facts(host, take=lambda: census))
    assert finding is not None
    fix = "with HVO on, empty the pools and fill them again" if verdict is WARNING else ""
    assert finding == Finding("pools", verdict, says, fix)


def test_empty_pools_are_ok(tmp_path: Path) -> None:
    assert finding_of(tmp_path, "pools", {}) == Finding(
        "pools", OK, "no huge pages are allocated yet"
    )


def test_pools_of_all_nodes_are_summed(tmp_path: Path) -> None:
    of_node = "sys/devices/system/node/node{}/hugepages/hugepages-2048kB/nr_hugepages"
    nodes: Changes = {"sys/devices/system/node/online": "0-1\n"}
    finding = finding_of(
        tmp_path, "pools", {**nodes, of_node.format(0): "23\n", of_node.format(1): "509\n"}
    )
    assert finding.what.startswith("532 of 2MB; ")


def test_pools_are_ok_if_hvo_can_never_work(tmp_path: Path) -> None:
    finding = finding_of(tmp_path, "pools", {BTF: btf(56), SYSCTL: None, POOL.format(2048): "23\n"})
    assert finding == Finding("pools", OK, "23 of 2MB")


def test_a_kernel_without_huge_page_sizes_is_a_problem(tmp_path: Path) -> None:
    finding = finding_of(tmp_path, "pools", {POOL.format(2048): None, FREE: None})
    assert finding == Finding(
        "pools",
        PROBLEM,
        f"{tmp_path}/sys/kernel/mm/hugepages lists no huge page size",
        "the kernel needs CONFIG_HUGETLBFS and a CPU with huge pages",
    )

# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from probes.host import Host
from probes.preflight import obstacles, switched_off
from tests.probes.trees import make_host

FINE = {
    "proc/kallsyms": "0 T hugetlb_vmemmap_optimize\n",
    "proc/self/status": "Name:\tx\nCapEff:\t000001ffffffffff\n",
    "sys/bus/event_source/devices/kprobe/type": "8\n",
    "modules/6.1.0-test/build/Makefile": "",
    "dist/bcc/__init__.py": "",
}


def said(root: Path, **changes: str | None) -> list[str]:
    files = {**FINE, **{k: v for k, v in changes.items() if v is not None}}
    files = {k: v for k, v in files.items() if changes.get(k, "") is not None}
    host = make_host(root, files)
    return [str(problem) for problem in obstacles(host, root / "dist")]


def test_nothing_in_the_way(tmp_path: Path) -> None:
    assert said(tmp_path) == []


@pytest.mark.parametrize(
    ("missing", "line"),
    [
        ("proc/kallsyms", "can't be read (No such file or directory): the kernel needs"),
        ("sys/bus/event_source/devices/kprobe/type", "this kernel has no kprobes: it needs CONFIG"),
        ("proc/self/status", "no privilege to attach probes: run as root"),
        ("dist/bcc/__init__.py", "BCC is not installed: apt install python3-bpfcc"),
        (
            "modules/6.1.0-test/build/Makefile",
            "no kernel headers for 6.1.0-test: apt install linux-headers-6.1.0-test",
        ),
    ],
)
def test_each_obstacle_is_named_with_its_fix(tmp_path: Path, missing: str, line: str) -> None:
    (problem,) = said(tmp_path, **{missing: None})
    assert line in problem


def test_a_kernel_without_hvo(tmp_path: Path) -> None:
    (problem,) = said(tmp_path, **{"proc/kallsyms": "0 T vmemmap_populate\n"})
    assert problem.startswith("this kernel has no HugeTLB vmemmap optimisation that hvoscope knows")


def test_headers_may_come_from_the_kheaders_module(tmp_path: Path) -> None:
    changes = {"modules/6.1.0-test/build/Makefile": None, "sys/kernel/kheaders.tar.xz": "x"}
    assert said(tmp_path, **changes) == []


@pytest.mark.parametrize(
    ("capabilities", "enough"),
    [
        ("0000000000200000", True),  # CAP_SYS_ADMIN
        ("000000c000000000", True),  # CAP_BPF and CAP_PERFMON
        ("0000008000000000", False),  # CAP_BPF alone
        ("0000000000000000", False),
    ],
)
def test_privileges(tmp_path: Path, capabilities: str, enough: bool) -> None:
    problems = said(tmp_path, **{"proc/self/status": f"CapEff:\t{capabilities}\n"})
    assert (problems == []) is enough


def test_all_obstacles_are_told_at_once(tmp_path: Path) -> None:
    assert len(obstacles(Host(tmp_path, tmp_path, tmp_path, "x"), tmp_path)) == 5


def test_a_switch_that_is_off_is_a_warning_with_the_fix(tmp_path: Path) -> None:
    switch = "proc/sys/vm/hugetlb_optimize_vmemmap"
    warning = switched_off(make_host(tmp_path, {switch: "0\n"}))
    assert "sysctl vm.hugetlb_optimize_vmemmap=1" in str(warning)
    assert switched_off(make_host(tmp_path, {switch: "1\n"})) is None
    assert switched_off(make_host(tmp_path / "old", {})) is None

# SPDX-License-Identifier: Apache-2.0
"""The running kernel's files: its log, its memory, its pools."""

from pathlib import Path

import pytest

from exporter.verify.hugetlb_files import HugetlbFiles
from exporter.verify.kernel_log import KernelLog
from exporter.verify.meminfo import accounted_bytes, read_meminfo
from probes.geometry import KIB
from probes.observation import Absent
from probes.operations import parse_operation
from tests.probes.preflight_host import SYSCTL, machine

POOL = "sys/kernel/mm/hugepages/hugepages-2048kB"
MEMINFO = """\
MemTotal:        4000 kB
MemFree:         1000 kB
MemAvailable:    3000 kB
Buffers:           10 kB
Cached:           200 kB
AnonPages:        300 kB
Slab:              40 kB
SReclaimable:      30 kB
Hugetlb:         2048 kB
HugePages_Total:     1
"""
ZONEINFO = """\
Node 0, zone   Normal
  pages free     250
  pagesets
    cpu: 0
              count:    5
              high:     100
    cpu: 1
              count:    2
"""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log that has one record; a FIFO would block at its end as /dev/kmsg does not."""
    path = tmp_path / "kmsg"
    path.write_text("3,1,5,-;BUG: an old one\n")
    return path


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def test_only_new_faults_are_read_and_kept(log: Path) -> None:
    kernel_log = KernelLog(log)
    assert kernel_log.faults() == ()
    append(log, "6,2,6,-;a line about debugging\n")
    append(log, "30,2,6,-;WARNING: a program says so\n")
    assert kernel_log.faults() == ()
    append(log, "1,3,7,-;BUG: Bad page state in process sh  pfn:1\n SUBSYSTEM=x\n")
    found = ("BUG: Bad page state in process sh  pfn:1",)
    assert kernel_log.faults() == found
    append(log, "4,4,8,-;WARNING: CPU: 0 PID: 1 at mm/hugetlb.c:1\n")
    assert kernel_log.faults() == (*found, "WARNING: CPU: 0 PID: 1 at mm/hugetlb.c:1")
    kernel_log.close()


def test_a_log_that_can_not_be_read_is_absent(tmp_path: Path) -> None:
    found = KernelLog(tmp_path / "none").faults()
    assert isinstance(found, Absent)
    assert "No such file" in found.reason


def test_memory_is_what_is_free_and_what_is_known_to_be_used(tmp_path: Path) -> None:
    host = machine(tmp_path, {"proc/meminfo": MEMINFO, "proc/zoneinfo": ZONEINFO})
    assert read_meminfo(host)["MemTotal"] == 4000 * KIB
    # Slab has SReclaimable, MemAvailable is an estimate; seven frames wait on CPUs.
    assert accounted_bytes(host) == (1000 + 10 + 200 + 300 + 40 + 2048 + 7 * 4) * KIB


def test_a_pool_grows_and_shrinks_from_what_it_is(tmp_path: Path) -> None:
    host = machine(tmp_path, {f"{POOL}/nr_hugepages": "5\n"})
    files = HugetlbFiles(host)
    count = tmp_path / POOL / "nr_hugepages"
    files.perform(parse_operation("grow 2MB 23"))
    assert count.read_text() == "28"
    files.perform(parse_operation("shrink 2MB 28"))
    assert count.read_text() == "0"
    files.perform(parse_operation("hvo off"))
    assert (tmp_path / SYSCTL).read_text() == "0"

# SPDX-License-Identifier: Apache-2.0
"""The harness itself, on every test kernel: what the live tests rely on is there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.guests.kernel_matrix import under_test
from tests.guests.kernels import Kernel
from tests.guests.qemu import Guest, GuestError, GuestTimeoutError
from tests.kernel.expected import EXPECTED

pytestmark = pytest.mark.kernel

_PROGRAMS = Path(__file__).parent / "programs"
_FACTS = """
echo "release=$(uname -r)"
echo "nodes=$(cat /sys/devices/system/node/online)"
echo "switch=$(cat /proc/sys/vm/hugetlb_optimize_vmemmap || true)"
echo "lo=$(cat /sys/class/net/lo/flags)"
echo "cwd=$PWD"
echo "greeting=$GREETING"
for node in 0 1; do
    pool=/sys/devices/system/node/node$node/hugepages/hugepages-2048kB/nr_hugepages
    echo $((node + 3)) > $pool
    echo "node$node=$(cat $pool)"
done
echo text > "$RESULTS/file"
cut -d' ' -f3 /proc/kallsyms | cut -f1 > "$RESULTS/symbols"
"""


def _children() -> set[str]:
    """Ids of the processes that this one started and that are still there."""
    lists = Path("/proc/self/task").glob("*/children")
    return {pid for path in lists for pid in path.read_text().split()}


def test_guest_is_as_promised(
    guest: Guest, kernel: Kernel, tmp_path: Path, kernel_name: str
) -> None:
    out = tmp_path / "guest0"
    run = guest("sh", "-c", _FACTS, env={"GREETING": 'it\'s "me" $HOME', "RESULTS": str(out)})
    assert run.exit_code == 0, run.stderr
    facts = dict(line.split("=", 1) for line in run.stdout.splitlines())
    assert facts == {
        "release": kernel.release,
        "nodes": "0-1",
        "switch": "0" if EXPECTED[kernel_name].restore else "",  # both came after v17
        "lo": "0x9",  # up, loopback
        "cwd": str(Path.cwd()),
        "greeting": 'it\'s "me" $HOME',
        "node0": "3",
        "node1": "4",
    }
    assert (out / "file").read_text() == "text\n"
    symbols = {symbol.split(".")[0] for symbol in (out / "symbols").read_text().split()}
    expected = EXPECTED[kernel_name]
    hooked = {expected.optimize, expected.remap_range, "vmemmap_remap_pte"}
    if expected.restore:
        hooked |= {expected.restore, "vmemmap_restore_pte"}
    assert not hooked - symbols


def test_bcc_counts_exactly(any_guest: Guest, bcc_python: str) -> None:
    run = any_guest(bcc_python, str(_PROGRAMS / "count_remaps.py"))
    assert run.exit_code == 0, run.stderr
    expected = EXPECTED[under_test()[0]]
    small, large = expected.ptes_2mb, expected.ptes_1gb
    assert json.loads(run.stdout) == {"2048kB": [23, 23 * small], "1048576kB": [1, large]}


@pytest.mark.parametrize(
    ("command", "code"), [("exit 3", 3), ("kill -KILL $$", 137), ("exec no-such-program", 127)]
)
def test_exit_codes_come_through(any_guest: Guest, command: str, code: int) -> None:
    run = any_guest("sh", "-c", command, memory_mib=1024)
    assert run.exit_code == code


def test_host_files_stay_as_they_are(any_guest: Guest, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_text("host")
    run = any_guest("sh", "-c", f"echo guest > {kept} && cat {kept} && rm {kept}", memory_mib=1024)
    assert (run.stdout, kept.read_text()) == ("guest\n", "host")


def test_hanging_command_meets_the_timeout(any_guest: Guest) -> None:
    before = _children()
    with pytest.raises(GuestTimeoutError, match="guest killed after 45 s"):
        any_guest("sleep", "1000", memory_mib=1024, timeout_s=45)  # long enough to begin
    assert _children() <= before


def test_panic_is_told(any_guest: Guest) -> None:
    with pytest.raises(GuestError, match=r"guest died: .*Kernel panic"):
        any_guest("sh", "-c", "echo c > /proc/sysrq-trigger", memory_mib=1024, timeout_s=60)


def test_boot_parameters_arrive(any_guest: Guest) -> None:
    run = any_guest("cat", "/proc/cmdline", memory_mib=1024, append="hugepages=4")
    assert "hugepages=4" in run.stdout.split()


def test_counted_guest_has_one_cpu(any_guest: Guest) -> None:
    run = any_guest("nproc", memory_mib=1024, cpus=1, nodes=1, counted=True, timeout_s=120)
    assert run.stdout == "1\n"

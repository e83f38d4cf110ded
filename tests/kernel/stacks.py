# SPDX-License-Identifier: Apache-2.0
"""Runs in the guest: records stacks while a pool grows and shrinks and pages are faulted in.

``python -m tests.kernel.stacks FOLDER`` writes stacks.hvot and latency.json. It judges nothing.
"""

import contextlib
import signal
import subprocess
import sys
from pathlib import Path

from exporter.verify.hugetlb_files import map_huge_pages
from probes.geometry import MIB
from probes.operations import parse_operation
from tests.kernel.workload import HVOSCOPE, perform, pool_of, wait_for

PAGES, FAULTED = 23, 5

_MAP_NORESERVE = 0x4000
"""include/uapi/asm-generic/mman-common.h: the pages are not reserved before they are touched."""


def fault_in(pages: int) -> None:
    """Touch pages beyond an empty pool; a kworker frees them after the last unmap."""
    size = 2 * MIB
    limit = pool_of(size) / "nr_overcommit_hugepages"
    limit.write_text(str(pages))
    with map_huge_pages(size, pages, flags=_MAP_NORESERVE) as memory:
        for page in range(pages):
            memory[page * size] = 1
    (pool_of(size) / "nr_hugepages").write_text("0")  # waits for the kworker
    limit.write_text("0")


def watching(out: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """Start a command of hvoscope; return when its probes count: armed before the handover."""
    with out.open("wb") as file:
        started = subprocess.Popen([HVOSCOPE, *arguments], stdout=file)
    wait_for(lambda: _has_maps(started.pid))
    return started


def _has_maps(pid: int) -> bool:
    """Whether the process has received the descriptors of maps."""
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            if "bpf-map" in path.readlink().name:
                return True
    return False


def main() -> None:
    """Watch, work, stop."""
    out = Path(sys.argv[1])
    perform(parse_operation("hvo on"))
    watchers = [
        watching(out / "record.log", "record", str(out / "stacks.hvot"), "-K"),
        watching(out / "latency.json", "latency", "--json"),
    ]
    subprocess.run(["sh", "-c", f"echo {PAGES} > /proc/sys/vm/nr_hugepages"], check=True)
    perform(parse_operation(f"shrink 2MB {PAGES}"))
    fault_in(FAULTED)
    for watcher in watchers:
        watcher.send_signal(signal.SIGINT)
        assert watcher.wait(60) == 0


if __name__ == "__main__":
    main()

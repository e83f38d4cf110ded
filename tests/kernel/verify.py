# SPDX-License-Identifier: Apache-2.0
"""Runs in the guest: ``hvoscope verify``, whole, refused, ended by SIGTERM, and killed.

``python -m tests.kernel.verify FOLDER OPTION...`` writes verify.json; the options are for the whole
run. It judges nothing.
"""

import json
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from exporter.verify.hugetlb_files import map_huge_pages
from exporter.verify.saved_state import StateFile, read_settings
from probes.geometry import MIB
from probes.kernel.host import Host
from tests.kernel.workload import HVOSCOPE, Notes, pool_of, wait_for

QUICK = ("--no-probes", "--only", "grow-many-2MB", "--known-bug")
OVERCOMMIT = 3
"""A value that no run sets, so that it shows whether it is put back."""


def verify(*options: str) -> Notes:
    """One run to its end."""
    done = subprocess.run(
        [HVOSCOPE, "verify", *options], capture_output=True, text=True, check=False
    )
    return {"exit_code": done.returncode, "stdout": done.stdout, "stderr": done.stderr}


def interrupted(number: signal.Signals) -> Notes:
    """A run that gets a signal while its pool has pages."""
    before = dict(read_settings(Host()))
    count = pool_of(2 * MIB) / "nr_hugepages"
    with subprocess.Popen(
        [HVOSCOPE, "verify", *QUICK], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        wait_for(lambda: int(count.read_text()) > 0 or process.poll() is not None)
        process.send_signal(number)
        stdout, stderr = process.communicate()
    return {
        "before": before,
        "exit_code": process.returncode,
        "stdout": stdout,
        "stderr": stderr,
        "after": dict(read_settings(Host())),
    }


def beside_another() -> Notes:
    """A run while another one, here this process, has the lock."""
    with closing(StateFile()):
        return verify(*QUICK)


def with_a_page_in_use() -> Notes:
    """A run while a task, here this process, has a page of the pool; and what the pool is then."""
    count = pool_of(2 * MIB) / "nr_hugepages"
    count.write_text("1")
    with map_huge_pages(2 * MIB, 1, populate=True):
        notes = verify(*QUICK)
        notes["pool"] = int(count.read_text())
    count.write_text("0")
    return notes


def main() -> None:
    """Do it all and write the notes."""
    out, options = Path(sys.argv[1]), sys.argv[2:]
    notes: Notes = {"whole": verify("--json", *options)}
    if notes["whole"]["exit_code"] != 4:
        (pool_of(2 * MIB) / "nr_overcommit_hugepages").write_text(str(OVERCOMMIT))
        notes |= {
            "terminated": interrupted(signal.SIGTERM),
            "second": beside_another(),
            "in_use": with_a_page_in_use(),
            "killed": interrupted(signal.SIGKILL),
            "next": verify(*QUICK),
            "put_back": verify("--put-back"),
            "at_end": dict(read_settings(Host())),
            "again": verify("--put-back"),
        }
    (out / "verify.json").write_text(json.dumps(notes))


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""Runs in the guest: ``hvoscope census`` after each of some operations, beside the pool's files.

``python -m tests.kernel.census FOLDER OPERATION...`` writes census.json. It judges nothing.
"""

import json
import mmap
import subprocess
import sys
from pathlib import Path

from probes.geometry import MIB
from probes.operations import parse_operation
from tests.kernel.workload import HVOSCOPE, MAP_HUGETLB, Notes, kernels_own, perform, pool_of

SURPLUS = 5
"""Pages of 2 MB that are in use beyond the pool."""


def observe(what: str) -> Notes:
    """A census, and what the kernel itself accounts."""
    done = subprocess.run(
        [HVOSCOPE, "census", "--json"], capture_output=True, text=True, check=False
    )
    return {
        "op": what,
        "exit_code": done.returncode,
        "stdout": done.stdout,
        "stderr": done.stderr,
        "kernel": kernels_own(),
    }


def surplus() -> Notes:
    """Fault pages in that the pool does not have, and take a census while they are used."""
    pool = pool_of(2 * MIB)
    there = int((pool / "nr_hugepages").read_text())
    (pool / "nr_overcommit_hugepages").write_text(str(SURPLUS))
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_HUGETLB
    with mmap.mmap(-1, (there + SURPLUS) * 2 * MIB, flags=flags) as memory:
        for page in range(there + SURPLUS):
            memory[page * 2 * MIB] = 1
        return observe("surplus")


def main() -> None:
    """Do it all and write the notes."""
    out, operations = Path(sys.argv[1]), sys.argv[2:]
    steps = [observe("")]
    for text in operations:
        if text == "surplus":
            steps.append(surplus())
        else:
            perform(parse_operation(text))
            steps.append(observe(text))
    (out / "census.json").write_text(json.dumps({"steps": steps}))


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""Runs in the guest: the exporter and the recorder side by side, over everything a pool can do.

``python -m tests.kernel.recorded FOLDER OPERATION...`` writes recording.hvot and recorded.json. It
judges nothing.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from probes.operations import parse_operation
from probes.recording.trace_file import TraceFileError, TraceReader
from tests.kernel.predictions import parts_with_huge_pages
from tests.kernel.programs.vmemmap_tables import Kcore, tables
from tests.kernel.workload import (
    HVOSCOPE,
    READY_TIMEOUT_S,
    Notes,
    exporter,
    get,
    kernels_own,
    perform,
    wait_for,
)

OPERATIONS = (
    "hvo on",
    # Nothing is given back before all has grown, so that all of it is memory that was never
    # optimised before: MemTotal then rises by every frame that is freed, and every split of a PMD
    # is the first.
    "grow 2MB 509",
    "grow 1GB 1",
    "grow 2MB 1",
    "grow 2MB 23",
    "grow 2MB 64",
    "shrink 2MB 64",
    "shrink 2MB 23",
    "shrink 2MB 1",
    "shrink 2MB 509",
    "shrink 1GB 1",
    "overcommit 2MB 5",
    "grow 2MB 3",
    "hvo off",
    "grow 2MB 2",
    "shrink 2MB 5",
    "hvo on",
    "grow 1GB 1",
    "demote 1GB 1",
    "shrink 2MB 512",
)

KCORE = Path("/proc/kcore")
"""Not in a kernel without CONFIG_PROC_KCORE."""

RECORDING = "recording.hvot"
CPU = 0
"""Where the operations run: a page that a fault brings in comes from its node."""


@contextmanager
def recorder(path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """``hvoscope record``, once it records; ended by SIGINT, as a person would."""
    log = path.with_suffix(".log")
    with (
        log.open("wb") as stderr,
        subprocess.Popen([HVOSCOPE, "record", str(path)], stderr=stderr) as process,
    ):
        wait_for(lambda: begun(path) or process.poll() is not None, READY_TIMEOUT_S)
        if process.poll() is not None:
            raise RuntimeError(log.read_text())
        try:
            yield process
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)


def said(*arguments: str) -> Notes:
    """What a command that ends by itself printed."""
    done = subprocess.run([HVOSCOPE, *arguments], capture_output=True, text=True, check=False)
    return {"exit_code": done.returncode, "stdout": done.stdout, "stderr": done.stderr}


def look(operation: str) -> Notes:
    """The kernel's own accounts after an operation, and its page table where it shows that."""
    notes: Notes = {"op": operation, "kernel": kernels_own(), "tables": None}
    if KCORE.exists():
        with KCORE.open("rb") as file:
            notes["tables"] = sorted(tables(Kcore(file)))
        notes["parts"] = sorted(parts_with_huge_pages())
    return notes


def begun(path: Path) -> bool:
    """Whether a recording has its first observation: what comes from now on is in it."""
    try:
        reader = TraceReader.open(path)
    except TraceFileError:
        return False
    try:
        return next(reader.blocks(), None) is not None
    finally:
        reader.close()


def observe(out: Path, operations: list[str]) -> Notes:
    """Serve, record, operate; what the exporter said last, and the kernel after each operation."""
    notes: Notes = {"release": os.uname().release, "steps": []}
    with exporter(out / "serve.log"):
        wait_for(lambda: get("/-/ready")[0] == 200)
        with recorder(out / RECORDING) as recording:
            os.sched_setaffinity(0, {CPU})  # not before: children inherit it
            notes["steps"].append(look(""))
            for text in operations:
                perform(parse_operation(text))
                notes["steps"].append(look(text))
        notes["scrape"] = get("/metrics")[1]
        notes["top"] = said("top", "--interval", "1", "--count", "3")
    notes["plan"] = said("plan")
    notes["record_exit_code"] = recording.returncode
    notes["record_said"] = (out / RECORDING).with_suffix(".log").read_text()
    return notes


def main() -> None:
    """Do all of it."""
    out = Path(sys.argv[1])
    (out / "recorded.json").write_text(json.dumps(observe(out, sys.argv[2:])))


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""Runs in the guest: the product where HVO is absent, cannot work, is off, or hides its switch.

It judges nothing; the host's tests read its notes. ``python -m tests.kernel.negative JOB FOLDER``.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from probes.operations import parse_operation
from tests.kernel.workload import (
    HVOSCOPE,
    Notes,
    exporter,
    get,
    hooks,
    hooks_left,
    perform,
    wait_for,
)

GROW, SHRINK = "grow 2MB 5", "shrink 2MB 5"
SETTLED_S = 5
KPTR_RESTRICT = Path("/proc/sys/kernel/kptr_restrict")


def check() -> Notes:
    """What ``hvoscope check --json`` says."""
    done = subprocess.run(
        [HVOSCOPE, "check", "--json"], capture_output=True, text=True, check=False
    )
    return {"exit_code": done.returncode, "stdout": done.stdout, "stderr": done.stderr}


def hopeless(out: Path) -> Notes:
    """On a kernel whose HVO can never work: ask, serve, grow a pool, and see what is served."""
    notes: Notes = {"check": check()}
    log = out / "serve.log"
    with exporter(log) as process:
        wait_for(lambda: "no probes" in log.read_text() or get("/-/ready")[0] == 200)
        perform(parse_operation(GROW))
        time.sleep(SETTLED_S)
        notes["alive"] = process.poll() is None
        notes["ready"] = get("/-/ready")
        notes["scrape"] = get("/metrics")[1]
        notes["hooks_while_serving"] = hooks()
        perform(parse_operation(SHRINK))
    return {
        **notes,
        "exit_code": process.returncode,
        "hooks_left": hooks_left(),
        "log": log.read_text(),
    }


def states(out: Path) -> Notes:
    """On a kernel where HVO works: with HVO off, and then with addresses hidden as well."""
    notes: Notes = {"off": serve_and_operate(out / "off.log", GROW, SHRINK)}
    KPTR_RESTRICT.write_text("2")
    notes["hidden"] = serve_and_operate(
        out / "hidden.log", GROW, SHRINK, "hvo on", "grow 2MB 23", "shrink 2MB 23"
    )
    return notes


def serve_and_operate(log: Path, *operations: str) -> Notes:
    """Serve until ready, operate, and keep the scrape after each operation."""
    notes: Notes = {"check": check(), "scrapes": {}}
    with exporter(log):
        wait_for(lambda: get("/-/ready")[0] == 200)
        for text in operations:
            perform(parse_operation(text))
            notes["scrapes"][text] = get("/metrics")[1]
    return {**notes, "log": log.read_text()}


JOBS: Mapping[str, Callable[[Path], Notes]] = {"hopeless": hopeless, "states": states}


def main() -> None:
    """Do the job and write notes.json."""
    job, out = sys.argv[1], Path(sys.argv[2])
    notes = {"release": os.uname().release, **JOBS[job](out)}
    (out / "notes.json").write_text(json.dumps(notes))


if __name__ == "__main__":
    main()

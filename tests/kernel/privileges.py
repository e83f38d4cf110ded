# SPDX-License-Identifier: Apache-2.0
"""Runs in the guest: what each capability is good for, and what the daemon does without any.

``python -m tests.kernel.privileges FOLDER`` writes privileges.json. It judges nothing.
"""

import json
import subprocess
import sys
from pathlib import Path

from probes.operations import parse_operation
from tests.kernel.secured import ask_secured
from tests.kernel.workload import Notes, perform

SETS = ("", "bpf", "perfmon", "bpf perfmon", "bpf perfmon syslog", "sys_admin")
"""Capabilities that are left to root, by setpriv's names."""

PARANOID = "bpf perfmon"
"""The set that is tried once more at kernel.perf_event_paranoid=3, which is Debian's own."""

_LEVEL = Path("/proc/sys/kernel/perf_event_paranoid")


def under(capabilities: str) -> Notes:
    """Attempts of every kind, by root with only ``capabilities``."""
    bounding = ",".join(["-all", *(f"+{name}" for name in capabilities.split())])
    limited = ("setpriv", f"--bounding-set={bounding}")
    done = subprocess.run(
        [*limited, sys.executable, "-m", "tests.kernel.attempts"],
        capture_output=True,
        text=True,
        check=True,
    )
    notes: Notes = json.loads(done.stdout)
    return notes


def main() -> None:
    """Start a process for each set."""
    perform(parse_operation("hvo off"))
    out = Path(sys.argv[1])
    notes: Notes = {"secured": ask_secured(out)}
    _LEVEL.write_text("2")
    for capabilities in SETS:
        notes[capabilities] = under(capabilities)
    _LEVEL.write_text("3")
    notes["paranoid"] = under(PARANOID)
    (out / "privileges.json").write_text(json.dumps(notes))


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""Runs in the guest: the reproducer of the restore leak's report, as the page has it, then verify.

``python -m tests.kernel.restore_leak FOLDER`` writes restore-leak.json. It judges nothing.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

from tests.kernel.workload import HVOSCOPE

PAGE = Path(__file__).parents[2] / "docs/kernel-bugs/2026-hvo-restore-leak.md"
_SCRIPT = re.compile(r"<!-- reproducer: begin -->\n```sh\n(.*?)```\n", re.DOTALL)

VERIFY = ("verify", "--json", "--no-probes", "--known-bug", "--keep-going")
CASES = ("grow-2MB", "no-memory-2MB", "demote-1GB")


def reproducer() -> str:
    """The script on the page."""
    found = _SCRIPT.search(PAGE.read_text())
    assert found, PAGE
    return found[1]


def main() -> None:
    """Do both and write the notes."""
    notes = {}
    only = [word for case in CASES for word in ("--only", case)]
    for name, command in (
        ("verify", [HVOSCOPE, *VERIFY, *only]),
        ("reproducer", ["sh", "-c", reproducer()]),
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        notes[name] = {"exit_code": done.returncode, "stdout": done.stdout, "stderr": done.stderr}
    (Path(sys.argv[1]) / "restore-leak.json").write_text(json.dumps(notes))


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""Runs in the guest: the recorder alone, over operations of ``tests.kernel.steps``.

``python -m tests.kernel.traced FOLDER OPERATION...`` writes recording.hvot and recorded.json. It
judges nothing.
"""

import json
import os
import sys
from pathlib import Path

from tests.kernel.recorded import CPU, RECORDING, recorder
from tests.kernel.short import say
from tests.kernel.steps import Steps
from tests.kernel.workload import Notes, kernels_own


def observe(out: Path, operations: list[str]) -> Notes:
    """Record and operate; the kernel's own accounts after each operation."""
    notes: Notes = {"release": os.uname().release, "steps": []}
    with recorder(out / RECORDING) as recording:
        os.sched_setaffinity(0, {CPU})  # not before: children inherit it
        steps = Steps()
        notes["steps"].append({"op": "", "kernel": kernels_own()})
        for text in operations:
            steps.perform(text)
            notes["steps"].append({"op": text, "kernel": kernels_own()})
            say(f"done: {text}")
    notes["record_exit_code"] = recording.returncode
    notes["record_said"] = (out / RECORDING).with_suffix(".log").read_text()
    return notes


def main() -> None:
    """Do all of it."""
    out = Path(sys.argv[1])
    (out / "recorded.json").write_text(json.dumps(observe(out, sys.argv[2:])))


if __name__ == "__main__":
    main()

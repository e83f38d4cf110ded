# SPDX-License-Identifier: Apache-2.0
"""One parser fuzzed in a process of its own: libFuzzer ends the process that it runs in."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path


def fuzz(target: str, corpus: Path, *options: str) -> tuple[int, str]:
    """Return exit status, 0 if no input broke a rule, and what libFuzzer said.

    With the same corpus, ``-seed`` and ``-runs`` the same inputs are tried.
    """
    folder = corpus / target
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "tests.fuzz", target, str(folder / "inputs")]
    command += [f"-artifact_prefix={folder}/", *options]
    with tempfile.TemporaryDirectory(prefix="hvoscope-fuzz-") as scratch:
        done = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
            # libFuzzer ends its process without a chance to remove files.
            env={**os.environ, "PYTHONHASHSEED": "0", "TMPDIR": scratch},
        )
    return done.returncode, done.stdout

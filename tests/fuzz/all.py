# SPDX-License-Identifier: Apache-2.0
"""Fuzz every parser, or those named: ``python -m tests.fuzz.all --minutes 5 --corpus FOLDER``.

Each gets ``--minutes`` and a folder of its own in ``--corpus``, which keeps what was found for the
next run. An input that breaks a rule is written there, too, and ends that parser's run. Exit status
1 if there is one. The last lines are the table of docs/testing.md.
"""

import argparse
import re
import sys
from pathlib import Path

from tests.fuzz.run import fuzz


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("target", nargs="*")
    given = parser.parse_args()
    from tests.fuzz.targets import TARGETS  # noqa: PLC0415 - after the options are known to be good

    rows, broken = [], 0
    for name in given.target or TARGETS:
        status, output = fuzz(name, given.corpus, f"-max_total_time={given.minutes * 60:.0f}")
        print(output if status else f"{name}: no input breaks a rule", flush=True)
        broken += status != 0
        seen = re.findall(r"#(\d+)\s+\w+\s+cov: (\d+) ft: \d+ corp: (\d+)", output)
        rows.append((name, *(seen[-1] if seen else ("0", "0", "0"))))
    print("| target | executions | branches reached | inputs kept |\n|---|---|---|---|")
    for row in rows:
        print(f"| {' | '.join(row)} |")
    return min(broken, 1)


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: Apache-2.0
"""``python -m dashboards.lint [FILE...]``: lint dashboards, by default ours."""

import json
import sys
from pathlib import Path

from dashboards.boards.build import FOLDER
from dashboards.lint import lint
from dashboards.lint.model import Finding


def main(arguments: list[str]) -> int:
    """Return the exit code: 1 with findings, 2 for a file that is not a dashboard."""
    paths = [Path(name) for name in arguments] or sorted(FOLDER.glob("*.json"))
    findings: list[Finding] = []
    for path in paths:
        try:
            findings += lint(json.loads(path.read_text()))
        except (OSError, ValueError) as error:
            print(f"{path}: not a dashboard: {error}", file=sys.stderr)
            return 2
    for finding in findings:
        print(finding)
    print(f"{len(paths)} dashboards, {len(findings)} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

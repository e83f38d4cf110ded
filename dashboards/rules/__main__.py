# SPDX-License-Identifier: Apache-2.0
"""``python -m dashboards.rules FOLDER [--runbooks URL]``: write the rules for Prometheus."""

import argparse
import sys
from pathlib import Path

from dashboards.rules import FILES, RUNBOOKS


def main() -> int:
    """Return the exit code: 2 if the folder can't be written to."""
    parser = argparse.ArgumentParser(prog="python -m dashboards.rules", description=__doc__)
    parser.add_argument("folder", type=Path, help="output folder")
    parser.add_argument(
        "--runbooks", default=RUNBOOKS, metavar="URL", help="base URL of the runbooks"
    )
    chosen = parser.parse_args()
    for path in FILES:
        text = path.read_text().replace(f"{RUNBOOKS}/", f"{chosen.runbooks.rstrip('/')}/")
        try:
            (chosen.folder / path.name).write_text(text)
        except OSError as error:
            print(f"can't write {error.filename}: {error.strerror}", file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

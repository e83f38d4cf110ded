# SPDX-License-Identifier: Apache-2.0
"""``python -m dashboards``: write the dashboards' JSON; with ``--check``, list stale files."""

import argparse
import sys

from dashboards.boards.build import FOLDER, stale, texts


def main() -> int:
    """Return the exit code: 1 if ``--check`` finds a stale file."""
    parser = argparse.ArgumentParser(prog="python -m dashboards", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing")
    if parser.parse_args().check:
        for name in (found := stale(FOLDER)):
            print(f"{name} is stale: run python -m dashboards")
        return 1 if found else 0
    for name, text in texts().items():
        (FOLDER / name).write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())

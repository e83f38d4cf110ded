# SPDX-License-Identifier: Apache-2.0
"""``python -m dashboards.prove --scrape FILE...``: run every query on saved scrapes.

FILEs are saved scrapes of /metrics, oldest first. Exit code 1: a query had no result although its
metrics were scraped.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from dashboards.prove.prometheus import PrometheusError
from dashboards.prove.recorded import Answer, prove


def main() -> int:
    """Return the exit code: 2 if no query could be run."""
    parser = argparse.ArgumentParser(prog="python -m dashboards.prove", description=__doc__)
    parser.add_argument("--scrape", type=Path, nargs="+", required=True, metavar="FILE")
    paths = parser.parse_args().scrape
    try:
        with tempfile.TemporaryDirectory(prefix="hvoscope-prove-") as storage:
            answers = list(prove(paths, Path(storage)))
    except (OSError, ValueError, PrometheusError) as error:
        print(error, file=sys.stderr)
        return 2
    for answer in answers:
        print(_line(answer))
    wrong = sum(bool(answer.problem) for answer in answers)
    print(f"{len(answers)} queries, {sum(bool(a.values) for a in answers)} answered, {wrong} wrong")
    return 1 if wrong else 0


def _line(answer: Answer) -> str:
    values = " ".join(f"{value:g}" for value in list(answer.values.values())[:4])
    result = answer.problem or (values if answer.values else "-")
    return f"{answer.query.name:<70} {len(answer.values):>4}  {result}"


if __name__ == "__main__":
    sys.exit(main())

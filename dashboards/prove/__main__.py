# SPDX-License-Identifier: Apache-2.0
"""``python -m dashboards.prove``: run queries on saved scrapes, or on thousands of synthetic hosts.

``--scrape FILE...`` runs every query on saved scrapes of /metrics, oldest first. Exit code 1: a
query had no result although its metrics were scraped. ``--hosts N`` times the Fleet dashboard with
N hosts; ``--check`` returns 1 if a panel needs more than twice its budget.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from dashboards.prove.prometheus import PrometheusError
from dashboards.prove.recorded import Answer, prove
from dashboards.prove.timing import measure, over_budget, table


def main() -> int:
    """Return the exit code: 2 if no query could be run."""
    parser = argparse.ArgumentParser(prog="python -m dashboards.prove", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--scrape", type=Path, nargs="+", metavar="FILE")
    what.add_argument("--hosts", type=int, metavar="N")
    parser.add_argument("--check", action="store_true", help="fail at twice the budget")
    chosen = parser.parse_args()
    if chosen.hosts is not None and chosen.hosts < 1:
        print(f"invalid --hosts {chosen.hosts} (expected 1 or more)", file=sys.stderr)
        return 2
    try:
        return _scrapes(chosen.scrape) if chosen.scrape else _hosts(chosen.hosts, chosen.check)
    except (OSError, ValueError, PrometheusError) as error:
        print(error, file=sys.stderr)
        return 2


def _hosts(number: int, check: bool) -> int:
    timings = measure(number)
    print(*table(timings), sep="\n")
    wrong = over_budget(timings) if check else []
    for line in wrong:
        print(f"more than twice the budget: {line}", file=sys.stderr)
    return 1 if wrong else 0


def _scrapes(paths: list[Path]) -> int:
    with tempfile.TemporaryDirectory(prefix="hvoscope-prove-") as storage:
        answers = list(prove(paths, Path(storage)))
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

# SPDX-License-Identifier: Apache-2.0
"""``python -m dashboards.rules FOLDER [OPTION...]``: write the rules for Prometheus."""

import argparse
import sys
from pathlib import Path

from dashboards.rules import FILES, HOST_LABELS, RUNBOOKS, kubernetes
from dashboards.rules.options import Options, checked, with_options


def main() -> int:
    """Return the exit code: 2 for an invalid option, or if the folder can't be written to."""
    parser = argparse.ArgumentParser(prog="python -m dashboards.rules", description=__doc__)
    parser.add_argument("folder", type=Path, help="output folder")
    parser.add_argument(
        "--selector",
        default="",
        metavar="MATCHERS",
        help="matchers of hvoscope's targets, for every selector: 'job=\"hvo\"'",
    )
    parser.add_argument(
        "--label",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="label of every alert, for routing; may be repeated",
    )
    parser.add_argument(
        "--host-labels",
        default=",".join(HOST_LABELS),
        metavar="NAMES",
        help="labels that tell the targets of one job apart (default: %(default)s)",
    )
    parser.add_argument(
        "--runbooks",
        default=RUNBOOKS,
        metavar="URL",
        help="base URL of the runbooks (default: %(default)s)",
    )
    parser.add_argument(
        "--kubernetes",
        action="store_true",
        help=f"write one PrometheusRule ({kubernetes.FILE}) instead of Prometheus' rule files",
    )
    chosen = parser.parse_args()
    try:
        options = checked(
            Options(
                chosen.selector,
                dict(_pair(text) for text in chosen.label),
                [name.strip() for name in chosen.host_labels.split(",")],
                chosen.runbooks,
            )
        )
        if chosen.kubernetes:
            (chosen.folder / kubernetes.FILE).write_text(kubernetes.prometheus_rule(options))
            return 0
        for path in FILES:
            (chosen.folder / path.name).write_text(with_options(path, options))
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        print(f"can't write {error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    return 0


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not value:
        raise ValueError(f"invalid --label {text!r} (expected NAME=VALUE)")
    return name, value


if __name__ == "__main__":
    sys.exit(main())

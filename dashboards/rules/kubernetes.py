# SPDX-License-Identifier: Apache-2.0
"""The rules as one PrometheusRule, of which the Prometheus Operator makes a rule file."""

from pathlib import Path

from dashboards.rules import FILES
from dashboards.rules.options import Options, dumped, groups_of

FILE = Path("prometheusrule.yaml")
MANIFESTS = Path(__file__).parents[2] / "packaging/kubernetes/monitoring"
"""Where the repository keeps the file without options."""

_HEAD = """\
# SPDX-License-Identifier: Apache-2.0
# Made of dashboards/rules/ by: python -m dashboards.rules --kubernetes FOLDER [OPTION...]
"""


def prometheus_rule(options: Options) -> str:
    """Return the resource with the groups of all rule files, recording rules first."""
    name = {"name": "hvoscope", "labels": {"app.kubernetes.io/name": "hvoscope"}}
    return _HEAD + dumped(
        {
            "apiVersion": "monitoring.coreos.com/v1",
            "kind": "PrometheusRule",
            "metadata": name,
            "spec": {"groups": [group for path in FILES for group in groups_of(path, options)]},
        }
    )

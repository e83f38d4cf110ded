# SPDX-License-Identifier: Apache-2.0
"""Variables of the dashboards, and the selectors that use them."""

from collections.abc import Sequence

from grafana_foundation_sdk.builders.dashboard import DatasourceVariable, QueryVariable
from grafana_foundation_sdk.models.dashboard import DataSourceRef, VariableRefresh, VariableSort

DATASOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
"""The data source that the user selects; dashboards never name one."""

HOSTS = 'job=~"$job", instance=~"$instance"'
PAGES = f'{HOSTS}, size=~"$size", numa_node=~"$numa_node"'
SIZES = f'{HOSTS}, size=~"$size"'
"""Selectors of all series, of those with size and node, and of those with size."""

_ANY = ".+"


def datasource() -> DatasourceVariable:
    """Make the variable that selects the Prometheus data source."""
    return DatasourceVariable("datasource").label("Data source").type("prometheus")


def common(*names: str) -> Sequence[QueryVariable]:
    """Make the named variables, each filtered by the previous ones."""
    known = {
        "job": ("Job", "label_values(hvo_build_info, job)", _ANY),
        "instance": (
            "Instance",
            'label_values(hvo_build_info{job=~"$job"}, instance)',
            _ANY,
        ),
        "size": (
            "Size",
            f"label_values(hvo_pool_hugepages{{{HOSTS}}}, size)",
            _ANY,
        ),
        "numa_node": (
            "NUMA node",
            f"label_values(hvo_pool_hugepages{{{HOSTS}}}, numa_node)",
            _ANY,
        ),
    }
    return [_query(name, *known[name]) for name in names]


def _query(name: str, label: str, query: str, every: str) -> QueryVariable:
    return (
        QueryVariable(name)
        .label(label)
        .datasource(DATASOURCE)
        .query(query)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(every)
    )

# SPDX-License-Identifier: Apache-2.0
"""The variables that every dashboard has, and the selectors that use them."""

from collections.abc import Sequence

from grafana_foundation_sdk.builders.dashboard import DatasourceVariable, QueryVariable
from grafana_foundation_sdk.models.dashboard import DataSourceRef, VariableRefresh, VariableSort

DATASOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
"""Whatever Prometheus the reader picks; no dashboard names one."""

HOSTS = 'job=~"$job", instance=~"$instance"'
PAGES = f'{HOSTS}, size=~"$size", node=~"$node"'
"""Selectors: of every series, and of those that know size and node."""
SIZES = f'{HOSTS}, size=~"$size"'

_ALL_OF_THEM = ".+"
_ALL_AND_NONE = ".*"
"""Reserved huge pages belong to no node: "All" must take the empty label, too."""


def datasource() -> DatasourceVariable:
    """Which Prometheus."""
    return DatasourceVariable("datasource").label("Data source").type("prometheus")


def common(*names: str) -> Sequence[QueryVariable]:
    """Of job, instance, size and node those asked for, each narrowed by the ones before."""
    known = {
        "job": ("Job", "label_values(hvo_build_info, job)", _ALL_OF_THEM),
        "instance": (
            "Instance",
            'label_values(hvo_build_info{job=~"$job"}, instance)',
            _ALL_OF_THEM,
        ),
        "size": (
            "Size",
            f"label_values(hvo_pool_hugepages{{{HOSTS}}}, size)",
            _ALL_OF_THEM,
        ),
        "node": (
            "Node",
            f"label_values(hvo_pool_hugepages{{{HOSTS}}}, node)",
            _ALL_AND_NONE,
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

# SPDX-License-Identifier: Apache-2.0
"""Variables of the dashboards, and the selectors that use them."""

from collections.abc import Mapping, Sequence

from grafana_foundation_sdk.builders.dashboard import DatasourceVariable, QueryVariable
from grafana_foundation_sdk.models.dashboard import DataSourceRef, VariableRefresh, VariableSort

DATASOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
"""The data source that the user selects; dashboards never name one."""

JOBS = 'job=~"$job", cluster=~"$cluster"'
HOSTS = f'{JOBS}, instance=~"$instance"'
PAGES = f'{HOSTS}, size=~"$size", numa_node=~"$numa_node"'
SIZES = f'{HOSTS}, size=~"$size"'
"""Selectors of all targets, of the chosen ones, of series with size and node, and with size."""

_ANY = ".+"
_ANY_OR_NONE = ".*"
"""Value of All for a label that targets may not have."""
_KNOWN: Mapping[str, tuple[str, str, str]] = {
    # Only hvoscope's own targets, those that never came up included.
    "job": ("Job", "label_values(instance:hvo_up:max, job)", _ANY),
    "cluster": (
        "Cluster",
        'label_values(instance:hvo_up:max{job=~"$job"}, cluster)',
        _ANY_OR_NONE,
    ),
    "instance": ("Instance", f"label_values(instance:hvo_up:max{{{JOBS}}}, instance)", _ANY),
    "size": ("Size", f"label_values(hvo_pool_hugepages{{{HOSTS}}}, size)", _ANY),
    "numa_node": ("NUMA node", f"label_values(hvo_pool_hugepages{{{HOSTS}}}, numa_node)", _ANY),
}


def datasource() -> DatasourceVariable:
    """Make the variable that selects the Prometheus data source."""
    return DatasourceVariable("datasource").label("Data source").type("prometheus")


def common(*names: str, one: str = "") -> Sequence[QueryVariable]:
    """Make the named variables, each filtered by the previous ones.

    ``one`` is the variable of which exactly one value is selected, at first the first.
    """
    return [_query(name, *_KNOWN[name], several=name != one) for name in names]


def _query(name: str, label: str, query: str, every: str, *, several: bool) -> QueryVariable:
    variable = (
        QueryVariable(name)
        .label(label)
        .datasource(DATASOURCE)
        .query(query)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
        .multi(several)
        .include_all(several)
    )
    return variable.all_value(every) if several else variable

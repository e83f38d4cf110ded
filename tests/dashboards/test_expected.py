# SPDX-License-Identifier: Apache-2.0
"""Needs no Prometheus, so that ``make test`` finds what ``make test-dashboards`` would miss."""

from tests.dashboards.expected import PANELS, RULES, UNPREDICTED
from tests.dashboards.test_execution import QUERIES, key, needs_a_live_kernel


def test_every_panel_has_an_expectation() -> None:
    simulated = {
        key(query) for query in QUERIES if query.where != "rules" and not needs_a_live_kernel(query)
    }
    assert simulated == set(PANELS) | UNPREDICTED, "see tests/dashboards/expected.py"
    assert not set(PANELS) & UNPREDICTED


def test_every_expectation_of_a_rule_has_its_rule() -> None:
    assert set(RULES) <= {key(query) for query in QUERIES}

# SPDX-License-Identifier: Apache-2.0
"""Needs no Prometheus, so that ``make test`` finds what ``make test-dashboards`` would miss."""

from tests.dashboards.test_execution import EXPECTED, QUERIES, key, needs_a_live_kernel


def test_every_query_has_an_expectation() -> None:
    simulated = {key(query) for query in QUERIES if not needs_a_live_kernel(query)}
    assert simulated == set(EXPECTED), "see tests/dashboards/expected.py"

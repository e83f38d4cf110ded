# SPDX-License-Identifier: Apache-2.0
from collections.abc import Iterator

import pytest

from dashboards.prove.history import Day, day
from tests.tools import need


@pytest.fixture(scope="session")
def history(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Day]:
    """Store the simulated day in a real Prometheus; takes half a minute."""
    need("prometheus", "prometheus")
    with day(tmp_path_factory.mktemp("day")) as history:
        yield history

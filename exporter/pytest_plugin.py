# SPDX-License-Identifier: Apache-2.0
"""Fixtures for whoever tests an alert, a dashboard or a tool against a simulated kernel.

pytest loads this in every run where hvoscope is installed. So all it does then is define three
fixtures; everything else is imported when one of them is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from exporter.testing import RunningExporter, SimulatedKernel
    from sim_backend.kernel.sim_kernel import SimKernel


@pytest.fixture
def hvo_machine() -> SimKernel:
    """The machine under ``hvo_kernel``. Define your own for another generation, size or seed."""
    from sim_backend.kernel.sim_kernel import SimKernel  # noqa: PLC0415 - not in everybody's pytest

    return SimKernel()


@pytest.fixture
def hvo_kernel(hvo_machine: SimKernel) -> Iterator[SimulatedKernel]:
    """A simulated kernel: ``operate("grow 2MB 23")``, ``events``, ``counters()``, ``total()``."""
    from exporter import testing  # noqa: PLC0415 - not in everybody's pytest

    with testing.watched_kernel(hvo_machine) as kernel:
        yield kernel


@pytest.fixture
def hvo_exporter(hvo_kernel: SimulatedKernel) -> Iterator[RunningExporter]:
    """An exporter of ``hvo_kernel`` on a free port: ``url``, ``metrics_url``."""
    from exporter import testing  # noqa: PLC0415 - not in everybody's pytest

    with testing.running_exporter(hvo_kernel) as exporter:
        yield exporter

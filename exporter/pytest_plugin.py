# SPDX-License-Identifier: Apache-2.0
"""Fixtures to test alerts, dashboards and tools against a simulated kernel.

pytest loads this module in every run where hvoscope is installed. It therefore only defines three
fixtures; everything else is imported when a test requests one.
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
    """The machine of ``hvo_kernel``; override it for another generation, size or random seed."""
    from sim_backend.kernel.sim_kernel import SimKernel  # noqa: PLC0415 - only where used

    return SimKernel()


@pytest.fixture
def hvo_kernel(hvo_machine: SimKernel) -> Iterator[SimulatedKernel]:
    """A simulated kernel: ``operate("grow 2MB 23")``, ``events``, ``counters()``, ``total()``."""
    from exporter import testing  # noqa: PLC0415 - only where used

    with testing.watched_kernel(hvo_machine) as kernel:
        yield kernel


@pytest.fixture
def hvo_exporter(hvo_kernel: SimulatedKernel) -> Iterator[RunningExporter]:
    """An exporter of ``hvo_kernel`` on a free port: ``url``, ``metrics_url``."""
    from exporter import testing  # noqa: PLC0415 - only where used

    with testing.running_exporter(hvo_kernel) as exporter:
        yield exporter

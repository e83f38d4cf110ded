# SPDX-License-Identifier: Apache-2.0
"""Boot-time, reserved and dissolved pages, and failures without memory: on a real kernel again."""

import pytest

from probes.events import Kind
from tests import golden
from tests.golden import Golden
from tests.guests.kernel_matrix import whole
from tests.guests.kernels import Kernels
from tests.kernel.expected import EXPECTED
from tests.kernel.recordings import STORED, record, store

pytestmark = pytest.mark.kernel

ENOMEM = -12


@pytest.fixture(
    scope="module",
    params=[kernel_name for kernel_name in whole() if kernel_name in STORED["rare"]],
)
def trace(
    request: pytest.FixtureRequest, kernels: Kernels, tmp_path_factory: pytest.TempPathFactory
) -> Golden:
    """One boot of each kernel."""
    out = tmp_path_factory.mktemp(request.param)
    recorded = record(request.param, kernels(request.param), out, "rare")
    assert recorded.notes["record_said"] == ""
    return golden.load(store(recorded, tmp_path_factory.mktemp("golden")))


def test_the_simulator_makes_the_same_events(trace: Golden) -> None:
    assert golden.first_difference(trace) == ""


def test_restores_without_memory_failed_and_pages_of_boot_were_given_back(trace: Golden) -> None:
    assert sum(e.kind == Kind.RESTORE_EXIT and e.ret == ENOMEM for e in trace.events) >= 64
    first = next(event for event in trace.events if event.kind == Kind.RESTORE_EXIT)
    expected = EXPECTED[trace.name.removesuffix("-rare.hvot")]
    assert first.frames_allocated == expected.ptes_2mb - expected.head

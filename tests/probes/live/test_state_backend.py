# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from probes.backend import BackendError
from probes.counters import PageKey
from probes.kernel.host import Host
from probes.live.state_backend import StateBackend
from probes.observation import PARTS, Absent, Census, Failed, known
from tests.probes.preflight_host import KALLSYMS, RELEASE, SYSCTL, kallsyms, machine


def started(host: Host) -> StateBackend:
    backend = StateBackend(host)
    backend.prepare()
    backend.start()
    return backend


def test_pools_and_switch_are_there_and_what_needs_probes_is_not(tmp_path: Path) -> None:
    backend = started(machine(tmp_path, {}))
    seen = backend.observe()
    assert known(seen.pools) is not None
    assert seen.switch is True
    assert seen.status.ready
    assert (seen.counters.totals, seen.status.probes) == ({}, ())
    assert isinstance(seen.census, Absent)
    assert isinstance(seen.drift, Absent)
    assert not [part for part in PARTS if isinstance(getattr(seen, part), Failed)]
    info = backend.info
    assert (info.backend, info.kernel, info.mode) == ("state", RELEASE, "state")
    backend.stop()


def test_the_checks_are_those_of_the_start(tmp_path: Path) -> None:
    backend = started(machine(tmp_path, {}))
    assert backend.info.supported is True
    assert backend.info.checks["hvo"]
    assert backend.info.checks["struct_page"]
    backend.stop()


def test_a_kernel_without_hvo_is_ready_and_says_why_it_can_not(tmp_path: Path) -> None:
    backend = started(machine(tmp_path, {KALLSYMS: kallsyms("do_fork"), SYSCTL: None}))
    assert backend.observe().status.ready
    assert backend.info.supported is False
    assert not backend.info.checks["hvo"]
    backend.stop()


def test_before_the_start_nothing_is_known_of_the_checks(tmp_path: Path) -> None:
    backend = StateBackend(machine(tmp_path, {}))
    assert (backend.info.supported, backend.info.checks) == (None, {})
    backend.stop()


def test_a_census_is_taken_at_each_observation(tmp_path: Path) -> None:
    taken: list[Census | Absent] = [Census({PageKey(9, 0): 23}, {9: 7}), Absent("lockdown")]
    backend = StateBackend(machine(tmp_path, {}), census=lambda: taken.pop(0))
    assert backend.observe().census == Census({PageKey(9, 0): 23}, {9: 7})
    assert backend.observe().census == Absent("lockdown")


def test_there_are_no_events(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="events need probes: use --backend bcc"):
        StateBackend(machine(tmp_path, {})).records()

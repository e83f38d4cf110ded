# SPDX-License-Identifier: Apache-2.0
"""What each capability is good for, on a stock kernel, and that what listens has none."""

import json
import sys
from collections.abc import Mapping
from typing import Any

import pytest

from tests.guests.kernel_matrix import under_test
from tests.guests.kernels import Kernels
from tests.guests.precompiled import with_programs
from tests.guests.qemu import run_in_guest

pytestmark = pytest.mark.kernel

GUEST_TIMEOUT_S = 1200
STOCK = [kernel_name for kernel_name in under_test() if kernel_name.startswith("debian")][:1]
"""One is enough: what capabilities are for has not changed since Linux 5.8."""

Notes = Mapping[str, Mapping[str, Any]]


@pytest.fixture(scope="module", params=STOCK)
def notes(
    request: pytest.FixtureRequest, kernels: Kernels, tmp_path_factory: pytest.TempPathFactory
) -> Notes:
    """Every set of capabilities, tried in one boot."""
    out = tmp_path_factory.mktemp("privileges")
    command = (sys.executable, "-m", "tests.kernel.privileges", str(out))
    run = run_in_guest(
        with_programs(kernels(request.param)), command, out=out, timeout_s=GUEST_TIMEOUT_S
    )
    assert run.exit_code == 0, run.stderr
    found: Notes = json.loads((out / "privileges.json").read_text())
    return found


@pytest.mark.parametrize("attach", ["kprobe", "fentry"])
@pytest.mark.parametrize("capabilities", ["", "bpf", "perfmon"])
def test_one_alone_is_refused_with_the_fix(notes: Notes, attach: str, capabilities: str) -> None:
    problem = notes[capabilities][attach]["problem"]
    assert problem == "no privilege to attach probes: run as root"


@pytest.mark.parametrize("attach", ["kprobe", "fentry"])
@pytest.mark.parametrize(
    ("capabilities", "sees_the_switch"),
    [
        ("bpf perfmon", False),
        ("bpf perfmon syslog", True),  # kallsyms_show_value: addresses are for CAP_SYSLOG
        ("sys_admin", False),
    ],
)
def test_enough_to_attach(
    notes: Notes, attach: str, capabilities: str, sees_the_switch: bool
) -> None:
    assert notes[capabilities][attach] == {
        "problem": "",
        "off": int(sees_the_switch),
        "unknown": int(not sees_the_switch),
    }


def test_debians_own_paranoia_is_about_kprobes_only(notes: Notes) -> None:
    assert "the kernel refused a kprobe on" in notes["paranoid"]["kprobe"]["problem"]
    assert "Permission denied" in notes["paranoid"]["kprobe"]["problem"]
    assert notes["paranoid"]["fentry"]["problem"] == ""


def test_only_who_has_certificate_and_password_gets_a_scrape(notes: Notes) -> None:
    secured = notes["secured"]
    assert (secured["good"], secured["probes"]) == (200, True)
    assert (secured["no password"], secured["wrong password"]) == (401, 401)
    assert (secured["no certificate"], secured["wrong certificate"]) == (0, 0)


def test_what_listens_has_no_privilege_and_can_get_none(notes: Notes) -> None:
    threads = notes["secured"]["process"]
    assert len(threads) > 1  # each has capabilities of its own
    for thread in threads:
        sets = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
        assert {int(thread[name], 16) for name in sets} == {0}
        assert thread["NoNewPrivs"] == "1"
    assert int(threads[0]["VmRSS"].split()[0]) < 40 * 1024

# SPDX-License-Identifier: Apache-2.0
"""``hvoscope verify`` on simulated kernels; tests/kernel has real ones."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from exporter.cli.main import cli
from exporter.cli.verify_output import _Lines
from exporter.verify.points import Outcome, Point
from exporter.verify.simulated import SimulatedMachine
from tests.probes.preflight_host import KALLSYMS, SYSCTL, kallsyms, machine


def verify(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["verify", "--backend", "sim", *arguments])


def test_tap_has_a_plan_and_as_many_points() -> None:
    ran = verify("--only", "grow-2MB", "--only", "demote-1GB")
    assert ran.exit_code == 0
    version, plan, *lines = ran.stdout.splitlines()
    assert (version, plan) == ("TAP version 13", "1..18")
    numbers = [int(m[1]) for line in lines if (m := re.match(r"ok (\d+) ", line))]
    assert numbers == list(range(1, 19))
    assert lines[-1] == "# Totals: pass:14 fail:0 xfail:0 xpass:0 skip:4 error:0"


def test_a_broken_kernel_fails_with_what_is_wrong() -> None:
    ran = verify("--sim.kernel", "6.12.118", "--only", "grow-2MB", "--json")
    assert ran.exit_code == 1
    found = json.loads(ran.stdout)
    assert (found["exit_code"], found["kernel"]) == (1, "6.12.114 (simulated)")
    wrong = {p["account"]: p["details"] for p in found["points"] if p["outcome"] == "not ok"}
    assert set(wrong) == {"known bugs", "memory given back"}
    assert wrong["memory given back"][0].startswith("46 MiB are not given back")


def test_the_cases_are_listed_with_what_they_do() -> None:
    ran = verify("--list")
    assert ran.exit_code == 0
    assert "grow-2MB        grow 2MB 23, shrink 2MB 23" in ran.stdout.splitlines()


def test_a_case_that_is_only_run_by_name() -> None:
    listed = verify("--list").stdout
    assert (
        "no-memory-2MB   grow 2MB 23, fail to shrink 2MB 23, shrink 2MB 23 (only by --only)\n"
        in listed
    )
    ran = verify("--only", "no-memory-2MB", "--json")
    assert ran.exit_code == 0
    cases = [point["case"] for point in json.loads(ran.stdout)["points"]]
    assert set(cases) == {"kernel", "no-memory-2MB"}


def test_without_names_the_others_are_run() -> None:
    ran = verify("--json", "--share", "1")
    cases = {point["case"] for point in json.loads(ran.stdout)["points"]}
    assert "grow-2MB" in cases
    assert "no-memory-2MB" not in cases


def test_a_kernel_that_frees_nothing_is_skipped() -> None:
    ran = verify("--sim.kernel", "v17")
    assert ran.exit_code == 4
    assert ran.stdout.splitlines()[1] == (
        "1..0 # SKIP the kernel's HVO frees no frame of any size of huge page"
    )


def test_an_unknown_case_is_a_usage_error_that_names_the_cases() -> None:
    ran = CliRunner().invoke(
        cli, ["verify", "--backend", "sim", "--only", "grow-3MB"], standalone_mode=False
    )
    assert "invalid case 'grow-3MB' for '--only' (expected one of " in str(ran.exception)
    assert "grow-2MB" in str(ran.exception)


@pytest.mark.parametrize("share", ["0", "91", "x"])
def test_a_share_that_is_none_is_a_usage_error(share: str) -> None:
    assert verify("--share", share).exit_code == 2


def test_a_machine_without_hvo_is_skipped_before_anything_is_opened(tmp_path: Path) -> None:
    host = machine(tmp_path, {KALLSYMS: kallsyms("vmemmap_populate"), SYSCTL: None})
    paths = ["--path.procfs", str(host.proc), "--path.sysfs", str(host.sys)]
    for options in ([], ["--list"]):
        ran = CliRunner().invoke(cli, ["verify", *options, *paths])
        assert ran.exit_code == 4
        assert ran.stdout.startswith("TAP version 13\n1..0 # SKIP the kernel has no HVO")


def test_a_signal_ends_it_with_bail_out_and_everything_put_back() -> None:
    command = [sys.executable, "-c", "from exporter.cli.main import main; main()"]
    command += ["verify", "--backend", "sim"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        for line in process.stdout:
            if line.startswith("ok 2 "):
                process.send_signal(signal.SIGHUP)
                break
        rest = process.stdout.read()
    assert process.returncode == 1
    assert "kernel: put back" in rest
    assert "Bail out! stopped by a signal" in rest


def test_people_read_a_line_for_each_case(capsys: pytest.CaptureFixture[str]) -> None:
    lines = _Lines()
    points = [
        Point("kernel", "known bugs", Outcome.OK),
        Point("grow-2MB", "probes", Outcome.SKIP, ("no BTF",)),
        Point("grow-2MB", "census", Outcome.NOT_OK, ("22 pages (expected 23)",)),
        Point("grow-1GB", "census", Outcome.SKIP, ("no memory",)),
        Point("kernel", "put back", Outcome.OK),
    ]
    lines.begin(SimulatedMachine("7.3"), len(points), ["one", "two"])
    for point in points:
        lines.point(point)
    lines.end(points, "")
    assert capsys.readouterr().out.splitlines()[3:] == [
        "ok   kernel          accounts: 1 agree",
        "FAIL grow-2MB        accounts: 1 do not, 1 absent",
        "     census: 22 pages (expected 23)",
        "skip grow-1GB        no memory",
        "ok   kernel          accounts: 1 agree",
        "Not ok: 1 of 5 accounts do not agree",
    ]

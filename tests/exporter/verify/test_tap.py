# SPDX-License-Identifier: Apache-2.0
from exporter.verify import tap
from exporter.verify.points import Outcome, Point, exit_code

OK = Point("grow-2MB", "probes", Outcome.OK)
BAD = Point("grow-2MB", "census", Outcome.NOT_OK, ("22 pages (expected 23)", "and\nmore"))
ABSENT = Point("grow-2MB", "kernel log", Outcome.SKIP, ("it is #7",))


def test_version_and_plan_come_first() -> None:
    assert list(tap.header(23, ["at most 46 MiB"])) == [
        "TAP version 13",
        "1..23",
        "# at most 46 MiB",
    ]


def test_a_point_with_its_diagnostics() -> None:
    assert list(tap.of_point(1, OK)) == ["ok 1 grow-2MB: probes"]
    assert list(tap.of_point(2, BAD)) == [
        "not ok 2 grow-2MB: census",
        "# 22 pages (expected 23)",
        "# and more",
    ]


def test_a_reason_can_not_be_taken_for_a_directive() -> None:
    (line,) = tap.of_point(3, ABSENT)
    assert line == r"ok 3 grow-2MB: kernel log # SKIP it is \#7"
    assert tap.skip_all("pool #1") == "TAP version 13\n1..0 # SKIP pool \\#1"


def test_totals_are_those_of_kselftest() -> None:
    assert tap.totals([OK, OK, BAD, ABSENT]) == (
        "# Totals: pass:2 fail:1 xfail:0 xpass:0 skip:1 error:0"
    )


def test_exit_codes_are_those_of_kselftest() -> None:
    assert exit_code([OK, ABSENT]) == 0
    assert exit_code([OK, BAD, ABSENT]) == 1
    assert exit_code([ABSENT]) == exit_code([]) == 4

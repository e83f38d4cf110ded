# SPDX-License-Identifier: Apache-2.0
"""`hvoscope check`: table, JSON, and the command as a process."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from exporter.cli.check_report import to_json, to_table
from probes.preflight import Finding, Verdict
from tests.probes.preflight_host import machine

HVOSCOPE = [sys.executable, "-c", "from exporter.cli.main import main; main()"]
REPOSITORY = Path(__file__).parents[3]

FINE = Finding("btf", Verdict.OK, "/sys/kernel/btf/vmlinux")
OFF = Finding("switch", Verdict.WARNING, "HVO is off", "sysctl x=1 (boot: x=on)")
HIDDEN = Finding("kptr_restrict", Verdict.WARNING, "hidden", "sysctl y=1")
NO_BCC = Finding("bcc", Verdict.PROBLEM, "BCC is not installed", "apt install it")
NOT_READ = Finding("lockdown", Verdict.UNKNOWN, "can't be read")
LIMITED = "Ready: every command will work, with a limit:"
NOT_READY = (
    "Not ready: serve and top show the kernel's own state only, and trace, record and latency "
    "will not start:"
)


def check(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*HVOSCOPE, "check", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=REPOSITORY,
    )


def plain(*findings: Finding) -> list[str]:
    """Return the table's lines without colors."""
    text = to_table(findings, None)
    for code in ("\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[36m", "\x1b[0m"):
        text = text.replace(code, "")
    return text.splitlines()


def test_each_finding_is_a_line_with_its_fix_below() -> None:
    assert plain(FINE, OFF, NO_BCC, NOT_READ) == [
        "ok   btf           /sys/kernel/btf/vmlinux",
        "warn switch        HVO is off",
        "     fix: sysctl x=1 (boot: x=on)",
        "FAIL bcc           BCC is not installed",
        "     fix: apt install it",
        "?    lockdown      can't be read",
        f"{NOT_READY} BCC is not installed. Next: apt install it",
    ]


@pytest.mark.parametrize(
    ("findings", "line"),
    [
        ((FINE,), "Ready: every command will work. Next: hvoscope serve"),
        (
            (FINE, NOT_READ),
            "Ready (1 unknown): every command should work. Next: hvoscope serve",
        ),
        ((FINE, OFF), f"{LIMITED} HVO is off. Next: sysctl x=1"),
        ((HIDDEN, OFF), f"{LIMITED} hidden (and 1 more warning). Next: sysctl y=1"),
        (
            (HIDDEN, NOT_READ),
            "Ready (1 unknown): every command should work, with a limit: hidden. Next: sysctl y=1",
        ),
        ((OFF, NO_BCC), f"{NOT_READY} BCC is not installed. Next: apt install it"),
        (
            (NO_BCC._replace(fix=""), NO_BCC, NO_BCC),
            f"{NOT_READY} BCC is not installed (and 2 more problems). Next: apt install it",
        ),
        ((OFF._replace(fix=""),), f"{LIMITED} HVO is off."),
        (
            (OFF._replace(fix=""), HIDDEN),
            f"{LIMITED} hidden (and 1 more warning). Next: sysctl y=1",
        ),
    ],
)
def test_the_last_sentence_tells_what_works_and_what_to_type(
    findings: tuple[Finding, ...], line: str
) -> None:
    assert plain(*findings)[-1] == line


def test_long_lines_wrap_within_their_column() -> None:
    long = Finding("bcc", Verdict.OK, "words " * 20 + "end")
    rows = to_table((long,), 80).splitlines()[:-1]
    assert len(rows) == 3
    assert all(row[:19].isspace() and row[19] != " " for row in rows[1:])
    assert rows[0].replace("\x1b[32m", "").replace("\x1b[0m", "").startswith("ok   bcc  ")
    assert all(len(row) <= 80 for row in rows[1:])
    assert len(plain(long)) == 2


def test_each_verdict_has_its_own_color() -> None:
    rows = to_table((FINE, OFF, NO_BCC, NOT_READ), None).splitlines()
    marks = [row.split("m", 1)[0] for row in rows if row.startswith("\x1b")]
    assert len(set(marks)) == 4


def test_json_has_every_finding() -> None:
    assert json.loads(to_json((FINE, NO_BCC))) == {
        "ready": False,
        "findings": [
            {"name": "btf", "verdict": "ok", "what": "/sys/kernel/btf/vmlinux", "fix": ""},
            {
                "name": "bcc",
                "verdict": "problem",
                "what": "BCC is not installed",
                "fix": "apt install it",
            },
        ],
    }
    assert json.loads(to_json((OFF,)))["ready"] is True


def test_path_options_select_the_machine(tmp_path: Path) -> None:
    host = machine(tmp_path, {"sys/kernel/security/lockdown": "none integrity [confidentiality]"})
    ran = check("--path.procfs", str(host.proc), "--path.sysfs", str(host.sys), "--json")
    assert (ran.returncode, ran.stderr) == (1, "")
    reported = json.loads(ran.stdout)
    assert reported["ready"] is False
    verdicts = {finding["name"]: finding["verdict"] for finding in reported["findings"]}
    assert verdicts["lockdown"] == "problem"
    assert verdicts["optimize"] == verdicts["kprobes"] == "ok"


def test_exit_code_and_last_line_agree_on_this_machine() -> None:
    table, as_json = check(), check("--json")
    ready = json.loads(as_json.stdout)["ready"]
    assert table.returncode == as_json.returncode == (0 if ready else 1)
    assert table.stdout.splitlines()[-1].startswith("Ready" if ready else "Not ready: ")
    assert "\x1b" not in table.stdout


@pytest.mark.parametrize(
    ("argument", "reported"),
    [
        ("--jsn", "No such option '--jsn'"),
        ("kernel", "unexpected extra argument (kernel)"),
        ("--path.procfs=/nowhere", "'--path.procfs': Directory '/nowhere' does not exist"),
    ],
)
def test_wrong_usage_is_exit_code_2(argument: str, reported: str) -> None:
    ran = check(argument)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert reported in ran.stderr


def test_help_names_the_exit_codes() -> None:
    ran = check("--help")
    assert ran.returncode == 0
    assert "1  not ready" in ran.stdout

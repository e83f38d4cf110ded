# SPDX-License-Identifier: Apache-2.0
"""What the findings of all checks say together."""

import itertools
from pathlib import Path

import pytest

from probes.bpf.object_code import ObjectCode
from probes.bpf.program_cache import ProgramCache
from probes.preflight import Finding, Verdict, examine, headers_missing, results, supported
from probes.preflight.facts import Facts
from tests.probes.preflight_host import RELEASE, machine

OK, PROBLEM, UNKNOWN, WARNING = Verdict.OK, Verdict.PROBLEM, Verdict.UNKNOWN, Verdict.WARNING
DECIDING = ("architecture", "config", "hvo", "struct page")
HEADER = f"modules/{RELEASE}/build/include/linux/kconfig.h"


def test_a_finding_is_said_with_its_fix_if_it_has_one() -> None:
    assert str(Finding("hvo", PROBLEM, "it is off", "turn it on")) == "it is off: turn it on"
    assert str(Finding("hvo", OK, "it is on")) == "it is on"


def findings(**verdicts: Verdict) -> list[Finding]:
    return [Finding(name.replace("_", " "), verdict, "x") for name, verdict in verdicts.items()]


@pytest.mark.parametrize(("name", "hvo"), [*itertools.product(DECIDING, Verdict)])
def test_a_kernel_is_not_supported_if_a_deciding_check_has_a_problem(
    name: str, hvo: Verdict
) -> None:
    found = [*findings(hvo=hvo), Finding(name, PROBLEM, "x")]
    assert supported(found) is False


@pytest.mark.parametrize(
    ("hvo", "answer"), [(OK, True), (WARNING, None), (UNKNOWN, None), (PROBLEM, False)]
)
def test_support_is_known_only_from_the_functions_of_hvo(hvo: Verdict, answer: bool | None) -> None:
    assert supported(findings(architecture=OK, hvo=hvo, privileges=PROBLEM)) is answer


def test_support_is_unknown_without_the_check_of_hvo() -> None:
    assert supported(findings(architecture=OK, config=OK)) is None


def test_results_are_by_name_and_leave_out_what_is_not_known() -> None:
    found = findings(struct_page=PROBLEM, hvo=OK, boot=WARNING, btf=UNKNOWN)
    assert results(found) == {"struct_page": False, "hvo": True, "boot": True}


def test_missing_headers_are_a_finding_and_headers_are_none(tmp_path: Path) -> None:
    assert headers_missing(Facts(machine(tmp_path / "with", {}), environ={})) is None
    without = Facts(machine(tmp_path / "without", {HEADER: None}), environ={})
    finding = headers_missing(without)
    assert finding
    assert (finding.name, finding.verdict) == ("headers", PROBLEM)


@pytest.mark.parametrize("which", ["cache", "programs"])
def test_compiled_programs_count_in_all_checks(tmp_path: Path, which: str) -> None:
    folder = tmp_path / "compiled"
    assert not ProgramCache(folder).put("x", ObjectCode({}, {}))
    host = machine(tmp_path, {HEADER: None})
    cache, programs = (folder, None) if which == "cache" else (None, folder)
    found = examine(host, tmp_path / "dist", cache, {}, programs=programs)
    (finding,) = (finding for finding in found if finding.name == "headers")
    assert finding.verdict is WARNING

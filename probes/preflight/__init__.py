# SPDX-License-Identifier: Apache-2.0
"""Checks of a machine before probes are attached: reports each problem and its fix.

Needs no privileges and changes nothing: the checks read files, and load a BPF program of two
instructions that is unloaded at once.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from probes.kernel.host import Host
from probes.preflight import attach, hvo, kernel
from probes.preflight.facts import Facts
from probes.preflight.finding import Finding, Verdict
from probes.preflight.free_memory import free_memory
from probes.preflight.headers import headers
from probes.preflight.trial import Trial

__all__ = [
    "Finding",
    "Verdict",
    "at_start",
    "examine",
    "headers_missing",
    "is_ready",
    "problems",
    "results",
    "supported",
    "switched_off",
]

Check = Callable[[Facts], Finding | None]

# A check that depends on the subject of another one comes after it.
_BUILT: tuple[Check, ...] = (kernel.architecture, kernel.config, kernel.hvo)
_SAVING: tuple[Check, ...] = (
    hvo.struct_page,
    hvo.boot_parameter,
    hvo.switch,
    hvo.hotplug,
    hvo.pools,
    free_memory,
)
_ATTACHING: tuple[Check, ...] = (
    attach.lockdown,
    attach.kprobes,
    attach.btf,
    headers,
    attach.bcc,
    attach.privileges,
)


_DECIDE_SUPPORT = frozenset({"architecture", "config", "hvo", "struct page"})


def examine(
    host: Host,
    distro_packages: Path | None = None,
    cache: Path | None = None,
    environ: Mapping[str, str] = os.environ,
    try_load: Trial | None = None,
    *,
    programs: Path | None = None,
) -> tuple[Finding, ...]:
    """Run every check; the findings are in reading order.

    ``cache`` is the folder of compiled programs, ``programs`` that of those compiled elsewhere
    (``probes.bpf.program_cache``).
    """
    facts = Facts(host, distro_packages, cache, environ, try_load, programs)
    found = _run((*_BUILT, *_SAVING, *_ATTACHING, attach.addresses), facts)
    return (*found, *attach.steps(facts))


def is_ready(findings: Iterable[Finding]) -> bool:
    """Whether every probe can attach and HVO can work; HVO may still be switched off."""
    return all(finding.verdict is not Verdict.PROBLEM for finding in findings)


def at_start(facts: Facts) -> list[Finding]:
    """What decides whether HVO can work and probes can attach, and does not change while they do.

    A ``PROBLEM`` among them prevents one or the other.
    """
    return _run((*_BUILT, hvo.struct_page, *_ATTACHING), facts)


def problems(findings: Iterable[Finding]) -> list[Finding]:
    """Those that prevent HVO or probes."""
    return [finding for finding in findings if finding.verdict is Verdict.PROBLEM]


def supported(findings: Iterable[Finding]) -> bool | None:
    """Whether the kernel can optimize huge pages, by ``at_start``; None if not known."""
    verdicts = {f.name: f.verdict for f in findings if f.name in _DECIDE_SUPPORT}
    if Verdict.PROBLEM in verdicts.values():
        return False
    return True if verdicts.get("hvo") is Verdict.OK else None


def results(findings: Iterable[Finding]) -> dict[str, bool]:
    """Whether each check found no problem; unknown ones are absent."""
    return {
        finding.name.replace(" ", "_"): finding.verdict is not Verdict.PROBLEM
        for finding in findings
        if finding.verdict is not Verdict.UNKNOWN
    }


def headers_missing(facts: Facts) -> Finding | None:
    """Finding about missing kernel headers, ignoring cached programs; None if there are headers."""
    finding = headers(facts)
    return None if finding.verdict is Verdict.OK else finding


def switched_off(host: Host) -> Finding | None:
    """Finding if HVO is compiled in but off, so that probes count only skipped pages; else None."""
    finding = hvo.switch(Facts(host))
    return finding if finding and finding.verdict is Verdict.WARNING else None


def _run(checks: Iterable[Check], facts: Facts) -> list[Finding]:
    return [finding for check in checks if (finding := check(facts))]

# SPDX-License-Identifier: Apache-2.0
"""What will work on this machine, what will not, and how to mend it.

Needs no privilege, and changes nothing: it reads files, and asks the kernel to load a program that
does nothing and is let go at once.
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
    "examine",
    "headers_missing",
    "is_ready",
    "obstacles",
    "switched_off",
]

Check = Callable[[Facts], Finding | None]

# What follows from another check's subject stands after it.
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


def examine(
    host: Host,
    distro_packages: Path | None = None,
    cache: Path | None = None,
    environ: Mapping[str, str] = os.environ,
    try_load: Trial | None = None,
) -> tuple[Finding, ...]:
    """Run every check, in the order in which they read best.

    ``cache`` is the folder of compiled programs (``probes.bpf.program_cache``).
    """
    facts = Facts(host, distro_packages, cache, environ, try_load)
    found = _run((*_BUILT, *_SAVING, *_ATTACHING, attach.addresses), facts)
    return (*found, *attach.steps(facts))


def is_ready(findings: Iterable[Finding]) -> bool:
    """Whether every probe will attach and HVO can work; it may still be switched off."""
    return all(finding.verdict is not Verdict.PROBLEM for finding in findings)


def obstacles(facts: Facts) -> list[Finding]:
    """Everything that keeps probes from attaching, or from ever having anything to count.

    Empty when nothing is in sight.
    """
    found = _run((*_BUILT, hvo.struct_page, *_ATTACHING), facts)
    return [finding for finding in found if finding.verdict is Verdict.PROBLEM]


def headers_missing(facts: Facts) -> Finding | None:
    """Why nothing can be compiled, even if something was before; None when it can be."""
    finding = headers(facts)
    return None if finding.verdict is Verdict.OK else finding


def switched_off(host: Host) -> Finding | None:
    """HVO is there but off: probes attach and will count nothing but skipped pages."""
    finding = hvo.switch(Facts(host))
    return finding if finding and finding.verdict is Verdict.WARNING else None


def _run(checks: Iterable[Check], facts: Facts) -> list[Finding]:
    return [finding for check in checks if (finding := check(facts))]

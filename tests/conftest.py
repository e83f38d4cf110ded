# SPDX-License-Identifier: Apache-2.0
"""Rules for every test."""

import os
import signal
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# A busy machine is no failure: no example has a deadline of its own.
settings.register_profile("hvoscope", deadline=None)
settings.load_profile("hvoscope")

# A script's background job ignores Ctrl-C and so would the programs that tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

NO_SKIP = "HVOSCOPE_NO_SKIP"
"""Set where everything must run (CI): a skipped test then fails, with the reason it gave."""

DURATIONS = "HVOSCOPE_DURATIONS"
"""Names a file that collects how long each part of each test took, over several runs of pytest."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, Any, Any]:
    report = yield
    if report.skipped and os.environ.get(NO_SKIP):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, but {NO_SKIP} is set: {report.longrepr}"
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if path := os.environ.get(DURATIONS):
        reports = [r for rs in terminalreporter.stats.values() for r in rs if hasattr(r, "when")]
        with Path(path).open("a", encoding="utf-8") as lines:
            lines.writelines(f"{r.duration:7.1f} s {r.when:8} {r.nodeid}\n" for r in reports)

# SPDX-License-Identifier: Apache-2.0
"""Rules for every test."""

import os
import signal
from collections.abc import Generator
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


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, Any, Any]:
    report = yield
    if report.skipped and os.environ.get(NO_SKIP):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, but {NO_SKIP} is set: {report.longrepr}"
    return report

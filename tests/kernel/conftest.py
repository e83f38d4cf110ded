# SPDX-License-Identifier: Apache-2.0
"""Fixtures of tests inside real kernels. A test that asks for `kernel_name` runs once on each."""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from tests.guests import kernel_matrix, tools
from tests.guests.kernels import Kernel, Kernels
from tests.guests.progress import UnavailableError
from tests.guests.qemu import BOOTING_AGAIN, Guest, GuestRun, Host, run_in_guest


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "kernel_name" in metafunc.fixturenames:
        # For the session, so that a fixture of any scope can build on it.
        metafunc.parametrize("kernel_name", kernel_matrix.whole(), scope="session")


class ByBoot(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Tests of one file on one kernel share a boot, and so a process."""

    def _split_scope(self, nodeid: str) -> str:
        file, _, rest = nodeid.partition("::")
        parameters = rest.partition("[")[2]
        named = [name for name in kernel_matrix.KERNELS if name in parameters]
        return f"{file} {max(named, key=len, default='')}"


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling | None:
    """With ``--dist loadscope``."""
    return ByBoot(config, log) if config.getvalue("dist") == "loadscope" else None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Guests that were booted again: a fault of the emulator's is not hidden by the second try."""
    reports = [r for some in terminalreporter.stats.values() for r in some]
    said = [text for r in reports if getattr(r, "when", "") == "teardown" for _, text in r.sections]
    again = [line for text in said for line in text.splitlines() if BOOTING_AGAIN in line]
    if again:
        terminalreporter.section(f"guests booted again: {len(again)}")
        terminalreporter.line("\n".join(again))


@contextmanager
def or_skip() -> Iterator[None]:
    """Skips a test for what the machine lacks, or fails it where that must not happen."""
    try:
        yield
    except UnavailableError as error:
        if os.environ.get("HVOSCOPE_REQUIRE_KERNEL") == "1":
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def kernels(pytestconfig: pytest.Config) -> Kernels:
    """A test kernel by its name; progress of a download or build goes to the terminal."""
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")

    @functools.cache
    def get(name: str) -> Kernel:
        with or_skip(), capture.global_and_fixture_disabled():
            Host.find()  # before minutes of building for a guest that cannot be
            tools.require("bcc")  # the guest uses the host's
            return kernel_matrix.provide(name)
        raise AssertionError("or_skip never returns after an error")

    return get


@pytest.fixture(scope="session")
def kernel(kernel_name: str, kernels: Kernels) -> Kernel:
    """The kernel that the test runs on."""
    return kernels(kernel_name)


@pytest.fixture
def guest(kernel: Kernel, tmp_path: Path) -> Guest:
    """Runs a command in a fresh guest; as run_in_guest(), but for kernel and out."""
    return _guest(kernel, tmp_path)


@pytest.fixture
def any_guest(kernels: Kernels, tmp_path: Path) -> Guest:
    """As `guest`, on the first test kernel only: for what does not depend on the kernel."""
    return _guest(kernels(kernel_matrix.under_test()[0]), tmp_path)


def _guest(kernel: Kernel, directory: Path) -> Guest:
    numbers = itertools.count()

    def run(*argv: str, **options: Any) -> GuestRun:
        return run_in_guest(kernel, argv, out=directory / f"guest{next(numbers)}", **options)

    return run


@pytest.fixture(scope="session")
def bcc_python() -> str:
    """The Python that has BCC, on the host and so in every guest."""
    with or_skip():
        tools.require("bcc")
    return "/usr/bin/python3"

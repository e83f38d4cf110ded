# SPDX-License-Identifier: Apache-2.0
"""The plugin that, in place of one test run, tries every mutant against the tests that reach it."""

import gc
import os
import resource
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatch
from functools import partial
from types import FrameType
from typing import NoReturn

import pytest

from tests.mutants.mutated import Finder, function_of, mutants_of, readable
from tests.mutants.trampoline import forget, record

SLOW = 1.0
"""Seconds of CPU: tests that take more are left out, quick ones find the same."""
MEMORY = 4 << 30
"""Bytes that a mutant may have."""


@dataclass
class Score:
    """How the mutants of one module ended."""

    killed: int = 0
    survived: list[str] = field(default_factory=list)
    """Those that every test passed, or that no test reaches."""


class Trial:
    """Runs each test once to see what it reaches; then forks for every mutant.

    The test that killed the function's last mutant comes first, then the quickest.
    """

    def __init__(self, finder: Finder, wanted: str, tell: Callable[[str], None]) -> None:
        self._finder, self._wanted, self._tell = finder, wanted, tell
        self._cpu: dict[pytest.Item, float] = {}
        self._tests: dict[tuple[str, str], list[pytest.Item]] = {}
        self.scores: dict[str, Score] = {}
        self.failed: list[str] = []
        """Tests that fail without a mutant."""

    def pytest_sessionstart(self) -> None:
        self._finder.install()

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Leave out tests that draw what they do: whether they find a fault would be chance."""
        items[:] = [item for item in items if not _draws(item)]

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        if session.testsfailed:
            self.failed.append("collection")
            return True
        self._reach(session)
        if not self.failed:
            gc.freeze()  # otherwise each fork copies most of the memory
            for module in self._finder.loaders:
                self._try_all(session, module)
        return True

    def _functions(self) -> Iterable[tuple[str, str]]:
        for module, loader in self._finder.loaders.items():
            for function in dict.fromkeys(map(function_of, loader.mutants())):
                yield module, function

    def _reach(self, session: pytest.Session) -> None:
        reached: set[str] = set()
        for module, function in self._functions():
            record(mutants_of(module, function), f"{module} {function}", reached)
        slow: set[pytest.Item] = set()
        for item in session.items:
            reached.clear()
            signal.signal(signal.SIGPROF, partial(_too_slow, slow, item))
            before, failed = time.process_time(), session.testsfailed
            signal.setitimer(signal.ITIMER_PROF, SLOW)
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
            signal.setitimer(signal.ITIMER_PROF, 0)
            took = time.process_time() - before
            if item not in slow:
                self.failed += [item.nodeid] if session.testsfailed > failed else []
                self._cpu[item] = took
                for name in reached:
                    module, function = name.split(" ")
                    self._tests.setdefault((module, function), []).append(item)
        for module, function in self._functions():
            forget(mutants_of(module, function))
        session.testsfailed = 0
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        total = sum(self._cpu.values())
        self._tell(
            f"{len(self._cpu)} tests of {total:.0f} s; {len(slow)} of more than {SLOW} s left out"
        )

    def _try_all(self, session: pytest.Session, module: str) -> None:
        score = self.scores[module] = Score()
        loader = self._finder.loaders[module]
        killers: dict[str, pytest.Item] = {}
        for mutant in loader.mutants():
            if not fnmatch(readable(mutant), self._wanted):
                continue
            function = function_of(mutant)
            tests = sorted(self._tests.get((module, function), []), key=self._cpu.__getitem__)
            if (killer := killers.get(function)) is not None:
                tests = [killer, *(test for test in tests if test is not killer)]
            if (killer := self._killer(session, tests, module, mutant)) is not None:
                killers[function] = killer
                score.killed += 1
                continue
            score.survived.append(mutant)
            why = f"{len(tests)} tests pass" if tests else "no test reaches it"
            self._tell(f"{module} {readable(mutant)}: {why}\n{loader.diff(mutant)}")
        total = score.killed + len(score.survived)
        self._tell(f"| `{module}` | {total} | {score.killed} | {len(score.survived)} |")

    def _killer(
        self, session: pytest.Session, tests: list[pytest.Item], module: str, mutant: str
    ) -> pytest.Item | None:
        """The test that finds the mutant; None if all of them pass."""
        if not tests:
            return None
        reads, writes = os.pipe()
        child = os.fork()
        if not child:
            self._try(session, tests, module, mutant, writes)
        os.close(writes)
        with os.fdopen(reads, "rb") as pipe:
            started = pipe.read()
        survived = os.waitpid(child, 0)[1] == 0
        return None if survived else tests[len(started) - 1]

    def _try(
        self,
        session: pytest.Session,
        tests: list[pytest.Item],
        module: str,
        mutant: str,
        started: int,
    ) -> NoReturn:
        gc.disable()
        session.config.option.tbstyle = "no"  # a traceback takes longer than most tests
        try:
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
            table = mutants_of(module, function_of(mutant))
            table["now"] = table[mutant]
            for item, following in zip(tests, [*tests[1:], None], strict=False):
                os.write(started, b".")
                # A mutant that does not end has been found: the signal ends it.
                signal.setitimer(signal.ITIMER_PROF, 1 + 20 * self._cpu[item])
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
                if session.testsfailed:
                    os._exit(1)
            os._exit(0)
        finally:
            os._exit(2)  # what no test can catch, such as SystemExit, was found, too


def _draws(item: pytest.Item) -> bool:
    return bool(getattr(getattr(item, "function", None), "is_hypothesis_test", False))


def _too_slow(
    slow: set[pytest.Item], item: pytest.Item, _signum: int, _frame: FrameType | None
) -> NoReturn:
    slow.add(item)
    pytest.fail("slow", pytrace=False)

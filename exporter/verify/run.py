# SPDX-License-Identifier: Apache-2.0
"""Run the cases on a machine and judge every account. Whatever happens, pools are put back."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from time import sleep as real_sleep
from typing import NamedTuple

from exporter.verify import judge
from exporter.verify.accounts import Accounts
from exporter.verify.cases import Case
from exporter.verify.effect import Effect, Pools
from exporter.verify.judge import Complaints, Moments
from exporter.verify.machine import END_USE, ImpossibleError, Machine
from exporter.verify.points import Outcome, Point
from probes.observation import Absent, known
from probes.operations import Operation

KERNEL, KNOWN_BUGS, PUT_BACK = "kernel", "known bugs", "put back"
MEMORY, FLAGS = "memory given back", "page flags"
ACCOUNTS = (*judge.STEP_ACCOUNTS, MEMORY, FLAGS)
"""Accounts of each case, in the order of their points."""

_READS, _PAUSE_SECONDS = 10, 0.3
"""How often memory is read at most until it is back: a CPU keeps some frames for a while."""

_GIVES_BACK = ("shrink", "demote", END_USE)
"""Operations for which there must be memory: it was enough a moment before."""

Stopped = Callable[[], bool]


class Options(NamedTuple):
    """How to run."""

    known_bug: bool = False
    """Run also on a kernel that is recognized to have a bug."""
    keep_going: bool = False
    """Run the other cases, too, when memory is not given back."""


CAREFUL = Options()


class _StoppedError(Exception):
    """The machine could not do an operation of a case; the message says which and why."""

    def __init__(self, operation: Operation, reason: ImpossibleError) -> None:
        super().__init__(f"{operation}: {reason}")
        self.gives_back = operation.verb in _GIVES_BACK


class _Done(NamedTuple):
    """The accounts around each operation, and what it had to do."""

    moments: tuple[Accounts, ...]
    effects: tuple[Effect, ...]


def number_of_points(cases: Sequence[Case]) -> int:
    """How many points ``run`` yields, unless it is stopped."""
    return 2 + len(cases) * len(ACCOUNTS)


def run(
    machine: Machine,
    cases: Sequence[Case],
    options: Options = CAREFUL,
    *,
    stopped: Stopped = lambda: False,
    sleep: Callable[[float], object] = real_sleep,
) -> Iterator[Point]:
    """Yield the points of every case; when stopped, no more than those of ended cases.

    The last point says whether everything could be put back.
    """
    bugs = machine.known_bugs
    yield _known_bugs(bugs)
    why_not = ""
    if (names := ", ".join(known(bugs) or ())) and not options.known_bug:
        why_not = f"the kernel has {names}; --known-bug runs it nevertheless"
    try:
        for case in cases:
            if stopped():
                break
            points = [*_skipped(case, why_not or case.skip)]
            if not points:
                points = _judged(machine, case, sleep, stopped)
            yield from points
            if not options.keep_going and _lost_memory(points):
                why_not = f"stopped after {case.name}: memory is not given back (see --keep-going)"
    finally:
        left = machine.put_back()
    yield Point(KERNEL, PUT_BACK, Outcome.NOT_OK if left else Outcome.OK, left)


def _known_bugs(bugs: Mapping[str, str] | Absent) -> Point:
    if isinstance(bugs, Absent):
        return Point(KERNEL, KNOWN_BUGS, Outcome.SKIP, (bugs.reason,))
    lines = tuple(f"{name}: {what}" for name, what in bugs.items())
    return Point(KERNEL, KNOWN_BUGS, Outcome.NOT_OK if bugs else Outcome.OK, lines)


def _skipped(case: Case, reason: str) -> Iterator[Point]:
    if reason:
        for account in ACCOUNTS:
            yield Point(case.name, account, Outcome.SKIP, (reason,))


def _lost_memory(points: Sequence[Point]) -> bool:
    return any(point.account == MEMORY and point.outcome is Outcome.NOT_OK for point in points)


def _judged(
    machine: Machine, case: Case, sleep: Callable[[float], object], stopped: Stopped
) -> list[Point]:
    before = machine.read(flags=True)
    if case.empty_pool is not None and before.pages.get(case.empty_pool):
        return [*_skipped(case, "the pool has pages, which the task would get first")]
    try:
        done = _perform(machine, case, before, stopped)
    except _StoppedError as error:
        machine.put_back()
        points = [*_skipped(case, str(error))]
        if error.gives_back:
            points[0] = _point(case, points[0].account, [str(error)])
        return points
    if left := machine.put_back():
        return [*_skipped(case, f"the pools did not become what they were: {'; '.join(left)}")]
    if len(done.effects) < len(case.operations):
        return []
    after = _settled(machine, before, case, sleep)
    return [
        *_step_points(machine, case, done),
        _point(case, MEMORY, judge.memory_given_back(before, after, case.peak)),
        _point(case, FLAGS, judge.page_flags(before, after)),
    ]


def _perform(machine: Machine, case: Case, before: Accounts, stopped: Stopped) -> _Done:
    """Do the operations, and read all accounts after each; fewer of them when stopped."""
    pools = Pools(machine.sizes, before, on=not machine.has_switch)
    moments, effects = [before], []
    for operation in case.operations:
        if stopped():
            break
        effects.append(pools.apply(operation))
        try:
            machine.perform(operation)
        except ImpossibleError as error:
            raise _StoppedError(operation, error) from error
        moments.append(machine.read())
    return _Done(tuple(moments), tuple(effects))


def _settled(
    machine: Machine, before: Accounts, case: Case, sleep: Callable[[float], object]
) -> Accounts:
    """The accounts once memory is back, or after a while."""
    for _ in range(_READS):
        after = machine.read()
        if judge.missing_memory(before, after) <= judge.tolerated(case.peak):
            break
        sleep(_PAUSE_SECONDS)
    return machine.read(flags=True)


def _step_points(machine: Machine, case: Case, done: _Done) -> Iterator[Point]:
    steps = [
        (operation, Moments(before, after, effect, machine.sizes, machine.page_size).resolved())
        for operation, (before, after), effect in zip(
            case.operations, pairwise(done.moments), done.effects, strict=True
        )
    ]
    for name, account in judge.STEP_ACCOUNTS.items():
        complaints: Complaints = []
        absent: Absent | None = None
        for operation, moments in steps:
            found = account(moments)
            if isinstance(found, Absent):
                absent = found
            else:
                complaints += [f"{operation}: {complaint}" for complaint in found]
        yield _point(case, name, complaints or absent or [])


def _point(case: Case, account: str, found: Complaints | Absent) -> Point:
    if isinstance(found, Absent):
        return Point(case.name, account, Outcome.SKIP, (found.reason,))
    return Point(case.name, account, Outcome.NOT_OK if found else Outcome.OK, tuple(found))

# SPDX-License-Identifier: Apache-2.0
"""``hvoscope verify``."""

import os
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import click

from exporter.cli.kernel_option import complete_kernel, generation_of
from exporter.cli.options import parsed, path_options
from exporter.cli.stopping import SIGNALS_AND_HANGUP, exit_on_output_error, stop_on_signals
from exporter.cli.verify_output import Output, make_output
from exporter.verify.cases import Case, cases_of
from exporter.verify.machine import Machine
from exporter.verify.points import EXIT_FAILED, EXIT_SKIPPED, exit_code
from exporter.verify.refusals import nothing_to_do, refusal
from exporter.verify.run import Options, number_of_points, run
from exporter.verify.running import RunningMachine
from exporter.verify.saved_state import (
    STATE_FILE,
    BusyError,
    StateFile,
    differences,
    put_back,
    read_settings,
)
from exporter.verify.simulated import SimulatedMachine
from exporter.verify.summary import to_come
from probes.bpf.program_cache import DEFAULT_FOLDER
from probes.kernel.host import Host
from probes.preflight.facts import Facts
from sim_backend.kernel.generation import NEWEST


@dataclass(frozen=True)
class _Choices:
    """What the command line says."""

    backend: str
    generation: str
    host: Host
    probes: bool
    only: tuple[str, ...]
    share: int
    pools_in_use: bool
    options: Options


class _SkipError(Exception):
    """Nothing is verified, and nothing was changed; the message is the reason."""


@click.command("verify")
@click.option(
    "--backend",
    type=click.Choice(("bcc", "sim")),
    default="bcc",
    show_default=True,
    help="bcc: this machine's kernel, needs root. sim: a simulated kernel.",
)
@click.option(
    *("--sim.kernel", "generation"),
    callback=parsed(generation_of),
    shell_complete=complete_kernel,
    metavar="RELEASE",
    default=NEWEST,
    show_default=True,
    help="Kernel release to simulate, such as 6.12.",
)
@click.option("--list", "only_list", is_flag=True, help="Print the cases; change nothing.")
@click.option("--only", multiple=True, metavar="CASE", help="Run this case; may be repeated.")
@click.option(
    "--share",
    type=click.IntRange(1, 90),
    default=25,
    show_default=True,
    metavar="PERCENT",
    help="Most huge pages at once, as a share of free memory.",
)
@click.option("--no-probes", is_flag=True, help="Attach no probes; the other accounts suffice.")
@click.option("--pools-in-use", is_flag=True, help="Run although huge pages are in use.")
@click.option("--known-bug", is_flag=True, help="Run although the kernel is known to have a bug.")
@click.option("--keep-going", is_flag=True, help="Run on when memory is not given back.")
@click.option("--put-back", "only_put_back", is_flag=True, help="Undo what a killed run has left.")
@click.option("--tap", "output", flag_value="tap", help="Print TAP on a terminal, too.")
@click.option("--json", "output", flag_value="json", help="Print one JSON object.")
@path_options
def verify_command(
    *,
    backend: str,
    generation: str,
    only_list: bool,
    only: tuple[str, ...],
    share: int,
    no_probes: bool,
    pools_in_use: bool,
    known_bug: bool,
    keep_going: bool,
    only_put_back: bool,
    output: str | None,
    proc: Path,
    sys_: Path,
) -> None:
    """Verify that this kernel's HVO does what it says, and gives all memory back.

    Grows, shrinks, uses and demotes huge pages, flips HVO's switch, and holds every account against
    what must have happened: pool files, probes, a census of the kernel's lists, nr_memmap_*,
    MemTotal, memory given back, flags of free page frames, the kernel's log. Then pools, switch and
    overcommit are as they were, also after a signal.

    Prints TAP 13 if standard output is not a terminal. On a machine that serves: read --list first.
    A kernel with a known bug is reported, and not run.

    \b
    Exit codes:
      0  all accounts agree
      1  an account does not, or something could not be put back
      2  wrong usage
      4  skipped: not root, no HVO, no memory, pools in use, or another run; one line says why

    \b
    Examples:
      hvoscope verify --list
      sudo hvoscope verify
      hvoscope verify --backend sim --sim.kernel 6.12.118
    """
    choices = _Choices(
        backend,
        generation,
        Host(proc=proc, sys=sys_),
        not no_probes,
        only,
        share,
        pools_in_use,
        # A simulated kernel can't be damaged.
        Options(known_bug or backend == "sim", keep_going),
    )
    shown = make_output(output)
    with exit_on_output_error():
        try:
            if only_put_back:
                code = _undo(shown)
            elif only_list:
                code = _list(choices)
            else:
                code = _verify(choices, shown)
        except _SkipError as reason:
            shown.skip_all(str(reason))
            code = EXIT_SKIPPED
        raise click.exceptions.Exit(code)


def _list(choices: _Choices) -> int:
    """Print the cases; needs no privilege."""
    with _machine(choices, to_change=False) as machine:
        for case in _named(choices, _all_cases(choices, machine)):
            asked = " (only by --only)" if case.asked and not case.skip else ""
            click.echo(f"{case.name:<16}{case.skip or case.about}{asked}")
    return 0


def _verify(choices: _Choices, shown: Output) -> int:
    with stop_on_signals(SIGNALS_AND_HANGUP) as stop, _machine(choices, to_change=True) as machine:
        cases = _cases(choices, machine)
        if reason := nothing_to_do(cases):
            raise _SkipError(reason)
        about = to_come(
            cases, _budget(choices, machine), probes=choices.probes and choices.backend == "bcc"
        )
        shown.begin(machine, number_of_points(cases), [*about])
        points = []
        for point in run(machine, cases, choices.options, stopped=stop.is_set):
            points.append(point)
            shown.point(point)
        shown.end(points, "stopped by a signal" if stop.is_set() else "")
        return EXIT_FAILED if stop.is_set() else exit_code(points)


def _undo(shown: Output) -> int:
    """Put back what a killed run has left."""
    with _locked_state() as state:
        settings = state.leftover()
        found = differences(settings)
        if left := put_back(settings):
            shown.say(f"could not be put back: {'; '.join(left)}")
            return EXIT_FAILED
        state.clear()
        shown.say(f"put back: {'; '.join(found)}" if found else "nothing was left to put back")
    return 0


@contextmanager
def _machine(choices: _Choices, *, to_change: bool) -> Iterator[Machine]:
    """The machine to verify, or one whose cases are only listed. Raises ``_SkipError``."""
    if choices.backend == "sim":
        with closing(SimulatedMachine(choices.generation)) as simulated:
            yield simulated
        return
    facts = Facts(choices.host, cache=DEFAULT_FOLDER)
    with _to_change(choices, facts) if to_change else _to_look_at(facts) as machine:
        yield machine


@contextmanager
def _to_change(choices: _Choices, facts: Facts) -> Iterator[Machine]:
    """The running machine, and what it was before in a file. Raises ``_SkipError``."""
    if reason := refusal(facts, euid=os.geteuid(), pools_in_use=choices.pools_in_use):
        raise _SkipError(reason)
    with _locked_state() as state:
        if left := differences(state.leftover()):
            raise _SkipError(
                f"an earlier run was killed and left: {'; '.join(left)}: hvoscope verify --put-back"
            )
        settings = read_settings(choices.host)
        state.save(settings)
        machine = RunningMachine(facts, settings, with_probes=choices.probes)
        with closing(machine):
            try:
                yield machine
            finally:
                if not machine.put_back():
                    state.clear()


@contextmanager
def _to_look_at(facts: Facts) -> Iterator[Machine]:
    if not facts.has_hvo:
        raise _SkipError(refusal(facts, euid=0, pools_in_use=True))
    with closing(RunningMachine(facts, {}, with_probes=False)) as machine:
        yield machine


@contextmanager
def _locked_state() -> Iterator[StateFile]:
    try:
        state = StateFile()
    except BusyError as error:
        raise _SkipError(str(error)) from error
    except OSError as error:
        raise _SkipError(
            f"{STATE_FILE} can't be written ({error.strerror}): run as root"
        ) from error
    with closing(state):
        yield state


def _budget(choices: _Choices, machine: Machine) -> int:
    return machine.free_bytes() * choices.share // 100


def _cases(choices: _Choices, machine: Machine) -> Sequence[Case]:
    """Those to run."""
    cases = _named(choices, _all_cases(choices, machine))
    return [case for case in cases if choices.only or not case.asked]


def _all_cases(choices: _Choices, machine: Machine) -> Sequence[Case]:
    return cases_of(machine, _budget(choices, machine))


def _named(choices: _Choices, cases: Sequence[Case]) -> Sequence[Case]:
    if not choices.only:
        return cases
    names = [case.name for case in cases]
    if unknown := [name for name in choices.only if name not in names]:
        raise click.UsageError(
            f"invalid case {unknown[0]!r} for '--only' (expected one of {', '.join(names)})"
        )
    return [case for case in cases if case.name in choices.only]

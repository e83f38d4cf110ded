# SPDX-License-Identifier: Apache-2.0
"""Runs in the guest: times writes to nr_hugepages, with and without probes. It judges nothing.

``python -m tests.bench.kernel_cost_guest JOB.json OUT.json``. All times are in ns of a guest that
counts instructions.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from probes.events import RECORD
from probes.geometry import MIB
from probes.kernel.hooks import select_hooks
from probes.kernel.host import Host
from probes.kernel.kallsyms import read_symbols
from probes.live.backend import LiveBackend
from tests.bench.empty_probes import empty_probes
from tests.bench.pool import Pool, full_of_gigabytes
from tests.kernel.drain import Drain
from tests.kernel.workload import SWITCH, hooks, wait_for

NONE, BPFTRACE, BCC = "none", "bpftrace", "plain BCC"
"""The first word of ways that are not hvoscope's own ("full fentry stream")."""
EMPTY, CLOCK = "empty", "clock"
"""The last word of ways whose programs only return 0 ("full fentry empty"), or read the clock where
an operation begins and ends."""
PEERS = Path(__file__).with_name("peers")
TRIES = 5
GIGABYTES_NODE = 1
"""Where nothing else is."""
VERBS, CLOCKS = ("grow", "shrink"), ("wall", "alone", "cpu")
"""``wall`` is the clock, ``alone`` the same without what other threads of this process, a stream's
reader, had of the CPU meanwhile; ``cpu`` is the caller's own."""
COLUMNS = tuple(f"{verb}_{clock}" for clock in CLOCKS for verb in VERBS)
MANY = 500
"""Pages from which on a write takes several ticks of the timer. With fewer, one page is there all
the time: else the kernel's patching of its own code, for the first and the last, would be most."""
GIGABYTE_REPETITIONS = 2
"""They take long, and are the same each time."""
JIFFY_NS, PHASES, NEAR_NS = 4_000_000, 4, 200_000
"""Debian's timer tick. From Linux 6.7 on a write waits for RCU, and so for some tick: begun at
different times between two of them, writes take as long on the average as without the rounding."""
_CPU_CLOCKS = (time.process_time_ns, time.thread_time_ns)
KINDS = {"kprobe": ("kprobe", "kretprobe"), "kfunc": ("kfunc", "kretfunc")}
"""bpftrace's names of probes at entry and at return."""

Notes = dict[str, Any]


class PoolError(Exception):
    """A pool is not of the size that was written."""


@dataclass(frozen=True)
class Job:
    """What to measure."""

    ways: Sequence[str]
    pages_2mb: Sequence[int]
    gigabyte: bool
    """And a page of 1 GB."""
    repetitions: int


def resize(pool: Pool, pages: int) -> tuple[int, ...]:
    """Time of one write by each of ``CLOCKS``, in ns."""
    text = str(pool.held + pages).encode()
    descriptor = os.open(pool.path, os.O_WRONLY)
    before = [clock() for clock in (*_CPU_CLOCKS, time.monotonic_ns)]
    os.write(descriptor, text)
    after = [clock() for clock in (time.monotonic_ns, *reversed(_CPU_CLOCKS))]
    os.close(descriptor)
    process, thread, wall = (b - a for a, b in zip(before, reversed(after), strict=True))
    return wall, wall - (process - thread), thread


def resize_for_sure(pool: Pool, pages: int) -> tuple[int, ...]:
    """The same, again where the kernel found too little memory in one piece."""
    before = pool.pages
    for _ in range(TRIES):
        times = resize(pool, pages)
        if pool.pages == pages:
            return times
        pool.resize(before)
        Path("/proc/sys/vm/drop_caches").write_text("1")
    raise PoolError(f"{pool.path} will not be {pages}")


def timed(pool: Pool, pages: int, repetitions: int) -> dict[str, list[float]]:
    """Grow a pool from 0 to ``pages`` and shrink it again: mean times of each repetition, in ns."""
    phases = PHASES if pages >= MANY else 1
    times: dict[str, list[float]] = {name: [] for name in COLUMNS}
    for repetition in range(repetitions):
        for name in COLUMNS:
            times[name].append(0)
        for phase in range(phases):
            for verb, wanted in zip(VERBS, (pages, 0), strict=True):
                await_phase((phase + repetition / repetitions) / phases)
                for clock, ns in zip(CLOCKS, resize_for_sure(pool, wanted), strict=True):
                    times[f"{verb}_{clock}"][-1] += ns / phases
    return times


def await_phase(phase: float) -> None:
    """Let readers and kworkers catch up, and wait until a tick is ``phase`` of a jiffy ago."""
    time.sleep(0.2)  # of guest time, so free
    while not 0 <= time.monotonic_ns() % JIFFY_NS - phase * JIFFY_NS < NEAR_NS:
        pass


def measured(job: Job, gigabytes: Pool | None) -> Notes:
    """All pools of the job, by ``SIZE PAGES``; without one that the kernel would not fill."""
    pool, small = Pool(2 * MIB), Pool(2 * MIB, held=1)
    notes: Notes = {}

    def note(pool: Pool, pages: int, repetitions: int) -> None:
        try:
            notes[f"{pool.size} {pages}"] = timed(pool, pages, repetitions)
        except PoolError as error:
            print(error, flush=True)

    if gigabytes:
        note(gigabytes, 1, GIGABYTE_REPETITIONS)
    pool.resize(small.held)
    for pages in job.pages_2mb:
        if pages < MANY:
            note(small, pages, job.repetitions)
    pool.resize(0)
    for pages in job.pages_2mb:
        if pages >= MANY:
            note(pool, pages, job.repetitions)
    return notes


@contextmanager
def attached(way: str) -> Iterator[Notes]:
    """With the probes of ``way``; what it says of itself is in the notes afterwards."""
    first, *rest = way.split()
    if first == NONE:
        yield {}
    elif first == BPFTRACE:
        with bpftrace(rest[0]) as notes:
            yield notes
    elif way == BCC:
        with perf_per_pte() as notes:
            yield notes
    elif rest[-1] in (EMPTY, CLOCK):
        with empty_probes(first, rest[0], clock=rest[-1] == CLOCK):
            yield {}
    else:
        with hvoscope(way) as notes:
            yield notes


def backend_of(way: str) -> LiveBackend:
    """hvoscope as ``MODE ATTACH [stream [stacks]]`` says."""
    mode, attach, *stream = way.split()
    return LiveBackend(mode=mode, attach=attach, stream=bool(stream), stacks="stacks" in stream)


@contextmanager
def hvoscope(way: str) -> Iterator[Notes]:
    """The live backend, and a thread that reads its stream, if it has one."""
    backend = backend_of(way)
    backend.start()
    notes: Notes = {"received": 0}

    def count(block: bytes) -> None:
        notes["received"] += len(block) // RECORD.size

    reader = Drain(backend, count)
    if "stream" in way:
        reader.start()
    try:
        yield notes
        if reader.ident:
            reader.await_empty()
        status, counters = backend.observe().status, backend.observe().counters
        notes["lost"] = sum(status.lost.values())
        notes["missed"] = sum(status.missed.values()) + sum(status.map_errors.values())
        notes["ptes"] = sum(
            n for (slot, _), n in counters.totals.items() if slot.family.startswith("ptes_")
        )
    finally:
        backend.stop()
        if reader.ident:
            reader.join()


@contextmanager
def bpftrace(kind: str) -> Iterator[Notes]:
    """The same counts and histograms by bpftrace."""
    functions = {
        step.step: step.hooks[0].symbol
        for step in select_hooks(read_symbols(Host().proc / "kallsyms"))
    }
    entry, at_return = KINDS[kind]
    text = (PEERS / "count.bt").read_text()
    for name, value in (
        ("ENTRY", entry),
        ("RETURN", at_return),
        ("OPTIMIZE", functions["optimize"]),
        ("RESTORE", functions["restore"]),
    ):
        text = text.replace(name, value)
    wanted = {functions["optimize"], functions["restore"]}
    wanted |= {"vmemmap_remap_pte", "vmemmap_restore_pte"}
    with peer(["bpftrace", "-e", text], lambda _: all(name in hooks() for name in wanted)) as notes:
        yield notes
    counted = dict(line[1:].split(": ") for line in notes["said"].splitlines() if ": " in line)
    notes["ptes"] = int(counted["remapped"]) + int(counted["restored"])


@contextmanager
def perf_per_pte() -> Iterator[Notes]:
    """The plain BCC tool."""
    command = ["/usr/bin/python3", str(PEERS / "perf_per_pte.py")]
    with peer(command, lambda said: "ready" in said) as notes:
        yield notes
    notes["received"], notes["lost"] = map(int, notes["said"].split()[-2:])


@contextmanager
def peer(command: list[str], ready: Callable[[str], bool]) -> Iterator[Notes]:
    """A program that is ended by a signal and then says what it counted."""
    notes: Notes = {"said": ""}
    log = Path("/tmp/peer.log")
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        try:
            wait_for(lambda: ready(log.read_text()) or process.poll() is not None)
            if process.poll() is not None:
                raise RuntimeError(f"{command[0]} ended: {log.read_text()}")
            time.sleep(1)
            yield notes
            time.sleep(1)
        finally:
            process.send_signal(signal.SIGINT if command[0] == "bpftrace" else signal.SIGTERM)
            process.wait(60)
    notes["said"] = log.read_text()


@contextmanager
def ticking() -> Iterator[subprocess.Popen[bytes]]:
    """With a process that wakes up all the time; SIGSTOP ends that.

    The clock of an idle guest jumps to its next timer, however short the wait for the host's files
    was: without a near one, time-outs end what has barely begun.
    """
    tick = [sys.executable, "-c", "import time\nwhile True: time.sleep(0.02)"]
    with subprocess.Popen(tick) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def undisturbed(ticker: subprocess.Popen[bytes]) -> Iterator[None]:
    """Without that process for a while."""
    ticker.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        ticker.send_signal(signal.SIGCONT)


def run(job: Job) -> Notes:
    """Each way between two measurements without probes, which are its own baseline."""
    SWITCH.write_text("1")
    notes: Notes = {}
    with ticking() as ticker:
        with undisturbed(ticker):
            gigabytes = full_of_gigabytes(GIGABYTES_NODE) if job.gigabyte else None
            measured(replace(job, repetitions=1), gigabytes)
            before = measured(job, gigabytes)
        for way in job.ways:
            with attached(way) as said, undisturbed(ticker):
                during = measured(job, gigabytes)
            with undisturbed(ticker):
                after = measured(job, gigabytes)
            notes[way] = {"before": before, "during": during, "after": after, "said": said}
            print(way, flush=True)
            before = after
    return notes


def main() -> None:
    """Do the job."""
    job, out = map(Path, sys.argv[1:])
    out.write_text(json.dumps(run(Job(**json.loads(job.read_text())))))


if __name__ == "__main__":
    main()

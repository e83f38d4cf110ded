# SPDX-License-Identifier: Apache-2.0
"""What the probes cost the kernel at the caller: real kernels, in guests that count instructions.

An instruction takes one nanosecond there, so that 1 % more is seen, whatever else the machine does.
"""

import json
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from probes.backend import FULL, RANGE
from probes.bpf.handover import FENTRY, KPROBE
from probes.geometry import GIB, MIB
from tests.bench import kernel_limit
from tests.bench.figures import MORE, Figure, Ratio, Section, Table, figure, table
from tests.bench.in_guest import run_module
from tests.bench.kernel_cost_guest import BCC, BPFTRACE, COLUMNS, NONE, VERBS, Job
from tests.guests import kernel_matrix, tools
from tests.guests.kernels import Kernel
from tests.guests.precompiled import with_programs
from tests.guests.qemu import Host

KERNELS = ("debian-6.1", "debian-6.12-113", "debian-newest")
"""The later 6.12 leak huge pages, so their baseline is not one."""
FULL_FENTRY, RANGE_FENTRY = f"{FULL} {FENTRY}", f"{RANGE} {FENTRY}"
OWN = tuple(f"{mode} {attach}" for attach in (FENTRY, KPROBE) for mode in (FULL, RANGE))
SHIPPED_STREAM = f"{FULL_FENTRY} stream"
"""What ``trace`` and ``record`` have by default."""
STREAMED = (
    *(f"{FULL} {attach} stream" for attach in (FENTRY, KPROBE)),
    f"{SHIPPED_STREAM} stacks",  # trace -K
)
PEERS = (f"{BPFTRACE} kfunc", f"{BPFTRACE} kprobe", BCC)
PAGES, GROWTH = 512, (5, 51, 512)
MEMORY_MIB = 12 * 1024
CPUS = NODES = 1
AT_ONCE = 2
"""Guests: each has one CPU."""
MEASURE_S = 3600

QUICK = Job((FULL_FENTRY, RANGE_FENTRY), (PAGES,), False, 2)
LIMITS = (*map(kernel_limit.empty, OWN), *map(kernel_limit.timing, (FULL_FENTRY, RANGE_FENTRY)))
THOROUGH = Job((NONE, *OWN, *LIMITS, *STREAMED, *PEERS), GROWTH, True, 3)
SHORT = replace(THOROUGH, ways=(NONE, *OWN, *LIMITS, SHIPPED_STREAM, *PEERS[:2]))
"""Of the kernels between the oldest and the newest."""

GOALS = {FULL_FENTRY: 1.08, RANGE_FENTRY: 1.03}
STREAM_GOAL = 1.25

Notes = Mapping[str, Any]
_HEADINGS = [f"{verb}{by}" for by in ("", ", no reader", ", caller's CPU") for verb in VERBS]
"""Of ``COLUMNS``."""


def measure(quick: bool) -> Section:
    """One kernel and the cheap ways, or everything."""
    names = KERNELS[:1] if quick else KERNELS
    whole = (KERNELS[0], KERNELS[-1])
    jobs = [QUICK if quick else THOROUGH if name in whole else SHORT for name in names]
    Host.find()
    tools.require_all(("bcc",) if quick else ("bcc", "bpftrace"))
    kernels = {
        name: with_programs(kernel_matrix.provide(name), cpus=CPUS, nodes=NODES) for name in names
    }
    with (
        tempfile.TemporaryDirectory(prefix="hvo-bench-") as folder,
        ThreadPoolExecutor(AT_ONCE) as pool,
    ):
        outs = [Path(folder) / name for name in names]
        plain = dict(zip(names, pool.map(observe, kernels.values(), outs, jobs), strict=True))
        zeroed: dict[str, Notes] = {}
        if not quick:
            found = pool.map(observe_zeroed, kernels.values(), outs)
            zeroed = dict(zip(names, found, strict=True))
    return section(plain, zeroed)


def observe_zeroed(kernel: Kernel, out: Path) -> Notes:
    """The same kernel as Debian boots it, after ``observe``."""
    job = kernel_limit.job_of_zeroed((FULL_FENTRY, RANGE_FENTRY))
    return observe(kernel, out, job, append=kernel_limit.ZEROING)


def observe(kernel: Kernel, out: Path, job: Job, append: str = "") -> Notes:
    """Measure in a guest of its own; the programs of ``kernel`` are compiled."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "job.json").write_text(json.dumps(asdict(job)))
    files = [str(out / name) for name in ("job.json", "notes.json")]
    run_module(
        kernel,
        out,
        "tests.bench.kernel_cost_guest",
        *files,
        cpus=CPUS,
        nodes=NODES,
        bare_nodes=1,
        memory_mib=MEMORY_MIB,
        timeout_s=MEASURE_S,
        counted=True,
        append=append,
    )
    notes: Notes = json.loads((out / "notes.json").read_text())
    return notes


def slowdown(notes: Notes, way: str, size: int, pages: int, what: str) -> Figure:
    """``what`` (``grow_wall`` ...) with the probes of ``way``, over the same without any."""
    return _times(notes, way, size, pages, what).over(_baseline(notes, way, size, pages, what))


def _times(notes: Notes, way: str, size: int, pages: int, what: str) -> Figure:
    return figure(notes[way]["during"][f"{size} {pages}"][what])


def _baseline(notes: Notes, way: str, size: int, pages: int, what: str) -> Figure:
    """Before and after in one: as a single value, since none of them belongs to one repetition."""
    both = [notes[way][when][f"{size} {pages}"][what] for when in ("before", "after")]
    return figure([figure(both[0] + both[1]).median])


def section(noted: Mapping[str, Notes], zeroed: Mapping[str, Notes] | None = None) -> Section:
    """The results of all kernels, and of those that zero what they allocate."""
    ratios: dict[str, Ratio] = {}
    for kernel_name, notes in noted.items():
        ratios |= _ratios(kernel_name, notes)
    tables = [one for kernel_name, notes in noted.items() for one in _tables(kernel_name, notes)]
    tables += kernel_limit.zeroed(noted, zeroed or {})
    return Section(
        title="Cost to the kernel",
        about=(
            f"The write to nr_hugepages that grows a pool from 0 to {PAGES} pages of 2 MB, and the"
            " one that shrinks it again, in a QEMU guest with one CPU that counts instructions as"
            " nanoseconds (-icount shift=0). Each way has a baseline of its own without probes,"
            " measured right before and after it in the same boot; 1 means no cost. The time is"
            " that of the caller: by the clock, in which the reader of a stream on the same CPU"
            " counts too; by the clock without that reader, as where it has a CPU of its own; and"
            " the caller's own CPU time. bpftrace counts the same functions and makes histograms of"
            " the same two latencies; plain BCC submits a record of each PTE by a perf buffer."
            " The kernels boot with init_on_alloc=0; another table has Debian's default, too."
        ),
        bounds=BOUNDS,
        tables=tuple(tables),
        ratios=ratios,
        quoted=tuple(_quoted(noted)),
    )


BOUNDS = (
    "the kernel's own way into and out of each probe, more than what most probes do. `full` has one"
    " on each PTE and two for each huge page, or three where only the range tells the result (6.1);"
    " `range` has four for each huge page, or three where the walk shows at its end what it was"
    " given (6.12, where the walk that splits passes the third too); two of them read the clock."
    " kprobes are bounded by the breakpoint's way through ftrace; the stream by a look at the clock"
    " and 96 bytes for each record, written once and copied once, and where the reader has no CPU"
    " of its own by the reader. Counted are instructions, not cycles: cache misses, locked"
    " instructions and interrupts between CPUs cost more on hardware, to the probes and to the"
    " kernel's own work that they are compared with. From Linux 6.7 on a write also waits for RCU:"
    " the caller's time, but no work of its CPU."
)


def _tables(kernel_name: str, notes: Notes) -> Iterator[Table]:
    yield table(
        f"{kernel_name}: {PAGES} pages of 2 MB, time with the probes over time without",
        ("probes", *_HEADINGS, "records"),
        ((way, *_row(notes, way, 2 * MIB, PAGES), _records(notes[way]["said"])) for way in notes),
        _baselines(notes, PAGES),
    )
    yield from kernel_limit.limits(kernel_name, notes, OWN, PAGES)
    if any(f"{GIB} 1" in one["during"] for one in notes.values()):
        yield table(
            f"{kernel_name}: a page of 1 GB, time with the probes over time without",
            ("probes", *_HEADINGS),
            ((way, *_row(notes, way, GIB, 1)) for way in notes),
            "The last of a node that is full of such pages: elsewhere the kernel first has to find"
            " a place, and to move what is in the way, which takes what it takes.",
        )
    if f"{2 * MIB} {GROWTH[0]}" in notes[FULL_FENTRY]["during"]:
        yield table(
            f"{kernel_name}: growth, instructions of the caller that the probes add for each page "
            "of 2 MB",
            ("probes", *(f"{verb} {n}" for verb in ("grow", "shrink") for n in GROWTH)),
            (
                (
                    way,
                    *(
                        f"{kernel_limit.added(notes, way, n, f'{verb}_cpu'):,.0f}"
                        for verb in VERBS
                        for n in GROWTH
                    ),
                )
                for way in OWN
            ),
            f"The same at 1, 10 and 100 times the work; below {PAGES} with an optimised page there"
            " before, so that the kernel does not patch its own code for the first and the last.",
        )


def _row(notes: Notes, way: str, size: int, pages: int) -> Iterator[Figure | None]:
    seen = all(f"{size} {pages}" in notes[way][w] for w in ("before", "during", "after"))
    for what in COLUMNS:
        known = seen and not (way == BCC and what.endswith("alone"))  # its reader is a process
        yield slowdown(notes, way, size, pages, what) if known else None


def _records(said: Notes) -> str | None:
    if not said.get("received"):
        return None
    return f"{said['received']:,} received, {said['lost']:,} lost"


def _baselines(notes: Notes, pages: int) -> str:
    times = [
        _baseline(notes, next(iter(notes)), 2 * MIB, pages, f"{verb}_wall").median for verb in VERBS
    ]
    each = [f"{verb} {t / pages:,.0f}" for verb, t in zip(VERBS, times, strict=True)]
    return f"Without probes, instructions for each page: {', '.join(each)}."


def worse(notes: Notes, way: str, clock: str = "wall") -> float:
    """Of growing and shrinking 2 MB pages, the worse slow-down."""
    return max(slowdown(notes, way, 2 * MIB, PAGES, f"{verb}_{clock}").median for verb in VERBS)


def _ratios(kernel_name: str, notes: Notes) -> Iterator[tuple[str, Ratio]]:
    kernel = kernel_name.removeprefix("debian-").replace(".", "_").replace("-", "_")
    yield from kernel_limit.ratios(kernel_name, kernel, notes, OWN, PAGES)
    for way in notes:
        if way == NONE or way in STREAMED or way in LIMITS:
            continue
        about = f"{kernel_name}: `{way}` over no probes, the worse of grow and shrink"
        yield (
            f"kernel_cost.{_key(way)}_2mb_{kernel}",
            Ratio(worse(notes, way), goal=GOALS.get(way), about=about),
        )
    for way in GOALS:
        if PEERS[0] in notes:
            yield (
                f"kernel_cost.{_key(way)}_over_bpftrace_{kernel}",
                Ratio(
                    beside(notes, way, PEERS[0]),
                    goal=1.0,
                    about=f"{kernel_name}: `{way}` over `{PEERS[0]}`, the worse of grow and shrink",
                ),
            )
    for way in STREAMED:
        if way in notes:
            yield (
                f"kernel_cost.{_key(way)}_2mb_{kernel}",
                Ratio(
                    worse(notes, way, "alone"),
                    goal=STREAM_GOAL if way == SHIPPED_STREAM else None,
                    about=f"{kernel_name}: `{way}` over no probes, its reader on a CPU of its own",
                ),
            )
    if SHIPPED_STREAM in notes:
        yield (
            f"kernel_cost.stream_received_{kernel}",
            Ratio(received(notes), MORE, 1.0, f"{kernel_name}: records received over records sent"),
        )


def beside(notes: Notes, way: str, peer: str) -> float:
    """Slow-down over a peer's, the worse of growing and shrinking 2 MB pages."""
    return max(
        slowdown(notes, way, 2 * MIB, PAGES, f"{verb}_wall").median
        / slowdown(notes, peer, 2 * MIB, PAGES, f"{verb}_wall").median
        for verb in VERBS
    )


def received(notes: Notes) -> float:
    """Of the records that all streams together were sent, those that their readers got."""
    said = [notes[way]["said"] for way in STREAMED if way in notes]
    got, lost = (sum(int(one[what]) for one in said) for what in ("received", "lost"))
    return got / (got + lost)


def _key(way: str) -> str:
    return way.lower().replace(" ", "_")


def _quoted(noted: Mapping[str, Notes]) -> Iterator[Table]:
    ways = [FULL_FENTRY, RANGE_FENTRY, f"{FULL} {KPROBE}", f"{RANGE} {KPROBE}", *PEERS]
    asked = [(verb, kernel_name) for kernel_name in noted for verb in VERBS]
    yield table(
        f"Time to {' or '.join(VERBS)} a pool by {PAGES} pages of 2 MB, without probes = 1",
        ("probes", *(f"{verb}, {kernel_name}" for verb, kernel_name in asked)),
        (
            (
                way,
                *(
                    slowdown(noted[kernel_name], way, 2 * MIB, PAGES, f"{verb}_wall")
                    if way in noted[kernel_name]
                    else None
                    for verb, kernel_name in asked
                ),
            )
            for way in ways
            if any(way in notes for notes in noted.values())
        ),
    )

# SPDX-License-Identifier: Apache-2.0
"""How fast the simulated kernel writes events, beside the rate at which memory can be written."""

import subprocess
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from probes.events import RECORD
from probes.geometry import GIB, MIB
from probes.operations import Operation
from sim_backend.backend import SimBackend, Sink
from sim_backend.kernel.sim_kernel import SimKernel
from tests.bench.figures import MORE, Figure, Ratio, Section, Table, figure, table
from tests.exporter.cli.test_cli import HVOSCOPE

GENERATION = "6.0"
TERABYTE = 1024
"""Pages of 1 GB."""
BLOCK_RECORDS = 4095
"""As many as a 1 GB page has PTEs to remap: what the simulator writes at once."""
GROWTH = (10, 100, 1000)

LAYOUT = np.dtype([("head", "<u8", 6), ("middle", "<u4", 6), ("tail", "u1", 24)])
"""As large as a record."""


class Rate(NamedTuple):
    """Records, and seconds that they took."""

    records: int
    seconds: float

    @property
    def per_second(self) -> float:
        """Records a second."""
        return self.records / self.seconds


def measure(quick: bool) -> Section:
    """Below 15 s if ``quick``, else two minutes."""
    repeats = 3 if quick else 7
    pages = 100 if quick else TERABYTE
    simulated, numpied, copied = [], [], []
    for _ in range(repeats):
        records = simulate(GIB, pages)
        simulated.append(records.per_second)
        numpied.append(write_with_numpy(records.records).per_second)
        copied.append(copy(records.records).per_second)
    rates = {
        "hvoscope's simulated kernel": figure(simulated, "records/s"),
        "numpy, a structured array filled": figure(numpied, "records/s"),
        "memcpy, `bytearray` slices": figure(copied, "records/s"),
    }
    if quick:
        return section(rates, [])
    return section(rates, [whole_processes(), growth()])


def simulate(size: int, pages: int) -> Rate:
    """Grow and shrink a pool and take the records, as ``hvoscope simulate --events`` does."""
    taken = 0

    def take(block: bytes) -> None:
        nonlocal taken
        taken += len(block)

    seconds = there_and_back(size, pages, take)
    return Rate(taken // RECORD.size, seconds)


def there_and_back(size: int, pages: int, sink: Sink | None = None) -> float:
    """Seconds to grow and shrink a pool; without a ``sink`` only counters are wanted."""
    memory = (2 * pages * size // GIB + 4) * GIB
    kernel = SimKernel(GENERATION, huge_page_sizes=(size,), memory_per_node=memory)
    backend = SimBackend(kernel, sink=sink)
    backend.start()
    began = time.perf_counter()
    for verb in ("grow", "shrink"):
        if backend.operate(Operation(verb, size, pages)) != pages:
            raise RuntimeError(f"{verb}: not all {pages} pages")
    seconds = time.perf_counter() - began
    backend.stop()
    return seconds


def write_with_numpy(records: int) -> Rate:
    """Fill so many records field by field, a block at a time, and hand on their bytes."""
    block = np.zeros(BLOCK_RECORDS, dtype=LAYOUT)
    if LAYOUT.itemsize != RECORD.size:
        raise RuntimeError("the array's records are not of the event's size")
    counting = np.arange(BLOCK_RECORDS * 6, dtype=np.uint64).reshape(BLOCK_RECORDS, 6)

    def fill() -> bytes:
        block["head"] = counting
        block["middle"] = 23
        block["tail"] = 5
        return block.tobytes()

    return _repeated(fill, records)


def copy(records: int) -> Rate:
    """Copy so many records from memory to memory, a block at a time."""
    block = bytes(BLOCK_RECORDS * RECORD.size)
    target = bytearray(len(block))

    def fill() -> None:
        target[:] = block

    return _repeated(fill, records)


def _repeated(write: Callable[[], object], records: int) -> Rate:
    blocks = -(-records // BLOCK_RECORDS)
    began = time.perf_counter()
    for _ in range(blocks):
        write()
    return Rate(blocks * BLOCK_RECORDS, time.perf_counter() - began)


def whole_processes() -> Table:
    """What a user waits for at the terminal."""
    jobs = {
        "nothing: `hvoscope --version`": ("--version",),
        "1 TiB of 1 GB pages, counters": _simulate(f"grow 1GB {TERABYTE}"),
        "1 TiB of 1 GB pages, 4.2 million records to a file": (
            *_simulate(f"grow 1GB {TERABYTE}"),
            "--events",
            "/dev/null",
        ),
        "a VM host's day": ("simulate", "--scenario", "vm-host-day"),
    }
    rows = [(what, _timed(command)) for what, command in jobs.items()]
    return table("Whole processes, `hvoscope simulate`", ("what", "time"), rows)


def growth() -> Table:
    """The same work at 1x, 10x, 100x."""
    rows = []
    for name, size in (("1 GB", GIB), ("2 MB", 2 * MIB)):
        for pages in GROWTH:
            counted = figure([there_and_back(size, pages) * 1e3 for _ in range(3)], "ms")
            each = figure([value / pages * 1e3 for value in counted.values], "us")
            rate = figure([simulate(size, pages).per_second for _ in range(3)], "records/s")
            rows.append((f"{pages:,} of {name}", counted, each, rate))
    columns = ("pages, there and back", "counters only", "a page", "with records")
    return table("Growth", columns, rows)


def section(rates: dict[str, Figure], more: list[Table]) -> Section:
    """Rates beside each other, and the other tables."""
    ours, numpied, copied = rates.values()
    rows = [(name, rate, rate.over(copied)) for name, rate in rates.items()]
    beside = table("Records of 96 bytes", ("who writes", "rate", "of memcpy's"), rows)
    ratios = {
        "simulator.rate_over_numpy": Ratio(
            ours.over(numpied).median, MORE, about="records a second, simulated kernel over numpy"
        )
    }
    return Section("Simulator", ABOUT, BOUNDS, (beside, *more), ratios)


ABOUT = (
    f"A simulated kernel of generation {GENERATION} grows and shrinks a pool of 1 GB pages, all its"
    " page tables, frames and durations included, and hands on every record; beside it, numpy and"
    " memcpy write as many records of the same size and do nothing else."
)
BOUNDS = (
    "PTEs are written as runs, one memory write for the 4,095 of a 1 GB page; what is left is the"
    " copying of records from run to block to consumer, and for 2 MB pages, whose runs are of 7,"
    " the Python around each page. A process's start is Python's imports."
)


def _simulate(*operations: str) -> tuple[str, ...]:
    words = [word for operation in operations for word in ("--op", operation)]
    return ("simulate", "--kernel", GENERATION, *words)


def _timed(arguments: tuple[str, ...], repeats: int = 5) -> Figure:
    command = [*HVOSCOPE, *arguments]
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds.append(time.perf_counter() - began)
    return figure(seconds, "s")

# SPDX-License-Identifier: Apache-2.0
"""How fast a recording is written and read, beside zlib, which alone bounds it."""

import io
import time
import zlib
from collections.abc import Callable

from probes.events import RECORD, Event, Kind
from probes.observation import Observation
from probes.recording.trace_block import FASTEST
from probes.recording.trace_file import BLOCK_RECORDS, Header, TraceReader, TraceWriter
from tests.bench.figures import LESS, Figure, Ratio, Section, figure, table

BLOCKS = 24
HEADER = Header("bcc", "6.1.0-bench", "full", 4096, monotonic_ns=0, wall_ns=0)


def measure(quick: bool) -> Section:
    """Some seconds."""
    records = b"".join(_pte(n) for n in range(BLOCK_RECORDS))
    file = _written(records)
    jobs: dict[str, Callable[[], object]] = {
        "written": lambda: _written(records),
        "read": lambda: _read(file),
        "zlib, compressed": lambda: [zlib.compress(records, FASTEST) for _ in range(BLOCKS)],
        "zlib, decompressed": lambda: [zlib.decompress(packed) for _ in range(BLOCKS)],
    }
    packed = zlib.compress(records, FASTEST)
    rates = {name: figure([], "records/s") for name in jobs}
    for _ in range(3 if quick else 9):  # in turns, so that a busy moment is no one's own
        for name, job in jobs.items():
            rates[name] = _with(rates[name], BLOCKS * BLOCK_RECORDS / _seconds(job))
    return _section(rates)


def _section(rates: dict[str, Figure]) -> Section:
    written, read, compressed, decompressed = rates.values()
    ratios = {
        "trace_file.zlib_over_written": Ratio(
            compressed.over(written).median, LESS, about="records a second, zlib over a recording"
        ),
        "trace_file.zlib_over_read": Ratio(
            decompressed.over(read).median, LESS, about="records a second, zlib over a replay"
        ),
    }
    rows = list(rates.items())
    return Section("Trace file", ABOUT, BOUNDS, (table("Records", ("what", "rate"), rows),), ratios)


def _with(rates: Figure, rate: float) -> Figure:
    return figure([*rates.values, rate], "records/s")


def _seconds(job: Callable[[], object]) -> float:
    began = time.perf_counter()
    job()
    return time.perf_counter() - began


def _pte(number: int) -> bytes:
    return Event(
        kind=Kind.REMAP_PTE, sequence=number, start=number << 12, order=9, comm=b"sysctl"
    ).pack()


def _written(records: bytes) -> bytes:
    file = io.BytesIO()
    writer = TraceWriter(file, HEADER)
    for _ in range(BLOCKS):
        writer.write(Observation(0), records)
    writer.finish("done")
    return file.getvalue()


def _read(file: bytes) -> int:
    read = sum(len(block.records) for block in TraceReader(io.BytesIO(file), "bench").blocks())
    if read != BLOCKS * BLOCK_RECORDS * RECORD.size:
        raise RuntimeError(f"{read} bytes of records came back")
    return read


ABOUT = (
    f"A trace file of {BLOCKS} blocks of {BLOCK_RECORDS} PTE records is written to memory and read"
    " back, checksums included; beside it, zlib packs and unpacks the same bytes as they are."
)
BOUNDS = "Records are put into columns first, which take a quarter of the room."

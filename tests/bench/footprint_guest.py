# SPDX-License-Identifier: Apache-2.0
"""Runs in the guest: what the live daemon takes, and a plain BCC tool beside it.

``python -m tests.bench.footprint_guest FOLDER PYTHON SCRAPES...`` writes footprint.json; PYTHON is
the one that has BCC.
"""

import http.client
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from probes.operations import parse_operation
from tests.guests.precompiled import ELSEWHERE
from tests.kernel.workload import ADDRESS, Notes, exporter, get, perform, wait_for
from tests.process import Taken, taken

PEER = Path(__file__).parent / "peers" / "perf_per_pte.py"


@contextmanager
def ready_exporter(out: Path, name: str, *options: str) -> Iterator[tuple[int, float]]:
    """A daemon whose probes are attached: its pid, and seconds from start to ready."""
    began = time.monotonic()
    with exporter(out / f"{name}.log", options=options) as process:
        wait_for(lambda: get("/-/ready")[0] == 200)
        yield process.pid, time.monotonic() - began


def scrape(times: int) -> None:
    """Scrape so often, on one connection."""
    connection = http.client.HTTPConnection(ADDRESS, timeout=60)
    for _ in range(times):
        connection.request("GET", "/metrics")
        if not connection.getresponse().read():
            raise RuntimeError("an empty scrape")
    connection.close()


def live(out: Path, scrapes: list[int]) -> Notes:
    """Start it with everything to compile, with shipped programs, and with nothing to compile."""
    cache = ("--probe.cache", str(out / "programs"))
    with ready_exporter(out, "first", *cache) as (_, cold):
        pass
    shipped = shipped_seconds(out)
    with ready_exporter(out, "second", *cache) as (pid, cached):
        perform(parse_operation("hvo on"))
        perform(parse_operation("grow 2MB 509"))
        looks: dict[int, Taken] = {0: taken(pid)}
        done = 0
        began = time.monotonic()
        for count in scrapes:
            scrape(count - done)
            done = count
            looks[count] = taken(pid)
        each = (time.monotonic() - began) / done
    return {
        "cold": cold,
        "shipped": shipped,
        "cached": cached,
        "looks": looks,
        "seconds_of_a_scrape": each,
    }


def shipped_seconds(out: Path) -> float:
    """From start to ready with a program that was compiled elsewhere, and an empty cache."""
    options = ("--probe.programs", str(ELSEWHERE), "--probe.cache", str(out / "empty"))
    with ready_exporter(out, "shipped", *options) as (_, seconds):
        if "compiled elsewhere" not in (out / "shipped.log").read_text():
            raise RuntimeError(f"the program in {ELSEWHERE} was not used")
        return seconds


def plain_bcc(python: str) -> Notes:
    """The tool from start to ready, and what it keeps."""
    began = time.monotonic()
    with subprocess.Popen([python, str(PEER)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        if process.stdout.readline() != "ready\n":
            raise RuntimeError("the plain BCC tool did not start")
        seconds = time.monotonic() - began
        look = taken(process.pid)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    return {"ready": seconds, "look": look}


def main() -> None:
    """Look at both and write it down."""
    out, python, *scrapes = sys.argv[1:]
    notes = {
        "live": live(Path(out), [int(count) for count in scrapes]),
        "plain_bcc": plain_bcc(python),
    }
    Path(out, "footprint.json").write_text(json.dumps(notes))


if __name__ == "__main__":
    main()

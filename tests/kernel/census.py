# SPDX-License-Identifier: Apache-2.0
"""Runs in the guest: ``hvoscope census`` after each of some operations, beside the pool's files and
beside what the probes have kept since a census of their own.

``python -m tests.kernel.census FOLDER OPERATION...`` writes census.json. It judges nothing.
"""

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from exporter.verify.hugetlb_files import map_huge_pages
from probes.geometry import MIB
from probes.live.backend import LiveBackend
from probes.observation import CENSUS, Census, known
from probes.operations import parse_operation
from tests.kernel.workload import (
    HVOSCOPE,
    Notes,
    exporter,
    get,
    kernels_own,
    perform,
    pool_of,
    wait_for,
)

SURPLUS = 5
"""Pages of 2 MB that are in use beyond the pool."""


CHURN = ("grow 2MB 23", "shrink 2MB 23")


def observe(what: str, backend: LiveBackend) -> Notes:
    """A census, what the probes kept, and what the kernel itself accounts."""
    done = subprocess.run(
        [HVOSCOPE, "census", "--json"], capture_output=True, text=True, check=False
    )
    return {
        "op": what,
        "exit_code": done.returncode,
        "stdout": done.stdout,
        "stderr": done.stderr,
        "kept": kept(backend),
        "kernel": kernels_own(),
    }


def kept(backend: LiveBackend) -> Notes:
    """Optimized pages and frames that they save, by the observation; or why not."""
    census = backend.observe((CENSUS,)).census
    if not isinstance(census, Census):
        return {"unknown": repr(census)}
    return {
        "optimized": [[*key, pages] for key, pages in census.optimized.items()],
        "saved_frames": census.saved_frames(),
    }


@contextmanager
def live() -> Iterator[LiveBackend]:
    """A live backend, attached."""
    backend = LiveBackend()
    backend.start()
    try:
        yield backend
    finally:
        backend.stop()


def wait_for_census(backend: LiveBackend) -> None:
    """Until the loader has sent what it found."""
    wait_for(lambda: known(backend.observe((CENSUS,)).census) is not None)


def surplus(backend: LiveBackend) -> Notes:
    """Fault pages in that the pool does not have, and take a census while they are used."""
    pool = pool_of(2 * MIB)
    there = int((pool / "nr_hugepages").read_text())
    (pool / "nr_overcommit_hugepages").write_text(str(SURPLUS))
    with map_huge_pages(2 * MIB, there + SURPLUS, populate=True):
        return observe("surplus", backend)


def churned() -> Notes:
    """Start a backend while the pool grows and shrinks without pause."""
    stop = threading.Event()

    def churn() -> None:
        while not stop.is_set():
            for text in CHURN:
                perform(parse_operation(text))

    task = threading.Thread(target=churn)
    task.start()
    try:
        with live() as backend:
            during = [kept(backend) for _ in range(23)]
            stop.set()
            task.join()
            wait_for_census(backend)
            return {"during": during, "after": observe("churn", backend)}
    finally:
        stop.set()
        task.join()


def reloaded(out: Path) -> Notes:
    """A later census, between two SIGHUPs, while nothing happens; as the unit's ExecReload does."""
    later, log = out / "later.json", out / "serve.log"
    with exporter(log, options=("--census.file", str(later))) as process:
        wait_for(lambda: "hvo_census_timestamp_seconds" in get("/metrics")[1])
        perform(parse_operation("grow 2MB 23"))
        before = get("/metrics")[1]
        process.send_signal(signal.SIGHUP)
        wait_for(lambda: "SIGHUP" in log.read_text())
        subprocess.run([HVOSCOPE, "census", "--output", later], check=True)
        process.send_signal(signal.SIGHUP)
        wait_for(lambda: "the count differs" in log.read_text())
        return {"before": before, "after": get("/metrics")[1], "log": log.read_text()}


def main() -> None:
    """Do it all and write the notes."""
    out, operations = Path(sys.argv[1]), sys.argv[2:]
    with live() as backend:
        wait_for_census(backend)
        steps = [observe("", backend)]
        for text in operations:
            if text == "surplus":
                steps.append(surplus(backend))
            else:
                perform(parse_operation(text))
                steps.append(observe(text, backend))
        with live() as restarted:
            wait_for_census(restarted)
            again = kept(restarted)
        notes = {"steps": steps, "restarted": again, "churned": churned()}
        notes["reloaded"] = reloaded(out)
        notes["at_end"] = observe("end", backend)
    (out / "census.json").write_text(json.dumps(notes))


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""Runs in the guest, as ``python -m tests.bench.census_guest FOLDER REPEATS``: times a census."""

import json
import os
import sys
import time
from mmap import PAGESIZE
from pathlib import Path

from probes.census.census import take_census
from probes.census.facts import facts_of
from probes.kernel.host import Host
from probes.preflight.facts import Facts
from tests.process import taken


def main() -> None:
    """Write census.json: the pages found, and seconds of CPU and of waiting for each time."""
    out, repeats = Path(sys.argv[1]), int(sys.argv[2])
    began = time.perf_counter()
    facts = Facts(Host())
    where = facts_of(facts.known_btf, facts.known_symbols)
    facts_seconds = time.perf_counter() - began
    rss_kib = taken(os.getpid()).rss_kib
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        pools = take_census(where, PAGESIZE)
        seconds.append(time.perf_counter() - began)
    found = {
        "pages": sum(row.pages for pool in pools for row in pool.nodes),
        "optimized": sum(row.optimized for pool in pools for row in pool.nodes),
        "facts_seconds": facts_seconds,
        "seconds": seconds,
        "more_rss_kib": taken(os.getpid()).rss_kib - rss_kib,
    }
    (out / "census.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()

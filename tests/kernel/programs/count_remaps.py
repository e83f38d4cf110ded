# SPDX-License-Identifier: Apache-2.0
"""Grows the pools of huge pages and prints, as JSON, how often vmemmap_remap_pte was called."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

_TEXT = "BPF_ARRAY(hits, u64, 1); int hit(void *ctx) { hits.increment(0); return 0; }"
_SWITCH = Path("/proc/sys/vm/hugetlb_optimize_vmemmap")
_POOLS = Path("/sys/kernel/mm/hugepages")


def main() -> None:
    """Attach, grow by 23 pages of 2 MB, then by one of 1 GB."""
    # Warnings of newer kernels' headers, which this old compiler does not know.
    bpf = importlib.import_module("bcc").BPF(text=_TEXT, cflags=["-Wno-everything"])
    bpf.attach_kprobe(event="vmemmap_remap_pte", fn_name="hit")
    if _SWITCH.exists():  # not in a kernel that always optimises
        _SWITCH.write_text("1")
    found = {}
    for size_kb, pages in ((2048, 23), (1048576, 1)):
        before = bpf["hits"][0].value
        pool = _POOLS / f"hugepages-{size_kb}kB" / "nr_hugepages"
        pool.write_text(str(pages))
        found[f"{size_kb}kB"] = [int(pool.read_text()), bpf["hits"][0].value - before]
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()

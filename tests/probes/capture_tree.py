# SPDX-License-Identifier: Apache-2.0
"""Captures the files that probes/kernel/hugetlb_state.py reads on this machine, as test data.

``python -m tests.probes.capture_tree "HOW THE STATE WAS CREATED" > tests/data/trees/NAME.json``.
Needs no root. Never edit such a file by hand.
"""

import json
import mmap
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from probes.kernel.btf import struct_sizes
from probes.kernel.host import Host
from probes.kernel.memmap import STRUCTS
from tests.probes.trees import btf, make_host

BTF = "sys/kernel/btf/vmlinux"
_FILES = (
    "proc/vmstat",
    "proc/zoneinfo",
    "proc/sys/vm/hugetlb_optimize_vmemmap",
    "sys/devices/system/memory/block_size_bytes",
    "sys/devices/system/memory/memory*/state",
    "sys/devices/system/node/online",
    "sys/devices/system/node/node*/hugepages/*/*_hugepages",
    "sys/firmware/memmap/*/*",
    "sys/kernel/mm/hugepages/*/*_hugepages",
)


def captured(how: str) -> dict[str, Any]:
    """Capture the running machine, with struct sizes instead of 5 MB of BTF."""
    host = Host()
    return {
        "how": how,
        "release": host.release,
        "machine": host.machine,
        "page_size": mmap.PAGESIZE,
        "structs": dict(struct_sizes(Path("/") / BTF, STRUCTS)),
        "files": dict(_files()),
    }


def restored(root: Path, file: Path) -> Host:
    """Write a captured machine as files below ``root``."""
    tree = json.loads(file.read_text())
    host = make_host(root, tree["files"])
    blob = root / BTF
    blob.parent.mkdir(parents=True, exist_ok=True)
    blob.write_bytes(btf(tree["structs"]))
    return replace(host, release=tree["release"], machine=tree["machine"])


def _files() -> Iterator[tuple[str, str]]:
    for pattern in _FILES:
        for path in sorted(Path("/").glob(pattern)):
            if path.is_file():
                yield str(path.relative_to("/")), path.read_text()


if __name__ == "__main__":
    sys.stdout.write(json.dumps(captured(sys.argv[1]), indent=0) + "\n")

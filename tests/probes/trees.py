# SPDX-License-Identifier: Apache-2.0
"""Helpers that write small /proc, /sys and /lib/modules trees."""

import struct
from collections.abc import Mapping
from pathlib import Path

from probes.kernel.host import Host


def make_host(root: Path, files: Mapping[str, str]) -> Host:
    """Write ``files`` (path below ``root`` -> contents) and return a host that uses them."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Host(
        root / "proc",
        root / "sys",
        root / "modules",
        "6.1.0-test",
        os_release=root / "etc/os-release",
    )


def btf(sizes: Mapping[str, int]) -> bytes:
    """Return BTF (Documentation/bpf/btf.rst) of structs without members."""
    strings, types = b"\0", b""
    for name, size in sizes.items():
        types += struct.pack("<III", len(strings), 4 << 24, size)
        strings += name.encode() + b"\0"
    lengths = (0, len(types), len(types), len(strings))
    return struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, *lengths) + types + strings

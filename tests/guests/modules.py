# SPDX-License-Identifier: Apache-2.0
"""Which kernel modules a guest needs before its root file system is there, and in which order."""

from __future__ import annotations

import lzma
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

# PCI to reach the share, virtiofs for the host's files, overlay to make them writable.
WANTED = ("virtio_pci", "virtiofs", "overlay")


class ModuleError(RuntimeError):
    """A module the guest cannot do without is neither built in nor in the tree."""


def module_name(path: str) -> str:
    """`kernel/fs/fuse/fuse.ko.xz` -> `fuse`; the kernel takes `-` and `_` for the same."""
    return PurePosixPath(path).name.split(".ko", 1)[0].replace("-", "_")


def parse_dep(text: str) -> dict[str, tuple[str, ...]]:
    """`modules.dep`: path of each module -> paths of those it needs, as depmod wrote them."""
    table: dict[str, tuple[str, ...]] = {}
    for line in text.splitlines():
        path, colon, needs = line.partition(":")
        if colon:
            table[path.strip()] = tuple(needs.split())
    return table


def load_order(
    wanted: Iterable[str], table: Mapping[str, tuple[str, ...]], builtin: Iterable[str]
) -> list[str]:
    """Paths to insert, each after all it needs, each once; what is built in is left out."""
    by_name = {module_name(path): path for path in table}
    present = {module_name(path) for path in builtin}
    order: list[str] = []

    def add(path: str, above: tuple[str, ...]) -> None:
        if path in order:
            return
        if path in above:
            raise ModuleError(f"modules.dep goes round in a circle: {' -> '.join((*above, path))}")
        for needed in table.get(path, ()):
            add(needed, (*above, path))
        order.append(path)

    for name in wanted:
        if name in by_name:
            add(by_name[name], ())
        elif name not in present:
            raise ModuleError(f"module {name} is neither built in nor in modules.dep")
    return order


def read_module(path: Path) -> bytes:
    """The module as the kernel takes it: Debian's newer kernels keep theirs compressed."""
    data = path.read_bytes()
    if path.suffix == ".xz":
        return lzma.decompress(data)
    if path.suffix != ".ko":
        raise ModuleError(f"{path}: do not know this compression")
    return data


def needed(tree: Path) -> list[Path]:
    """The files to insert, in order, of the module tree `lib/modules/<release>`."""
    table = parse_dep((tree / "modules.dep").read_text())
    builtin = (tree / "modules.builtin").read_text().split()
    return [tree / path for path in load_order(WANTED, table, builtin)]

# SPDX-License-Identifier: Apache-2.0
"""Order and contents of the modules that a guest loads first."""

from __future__ import annotations

import lzma
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.guests.modules import (
    ModuleError,
    load_order,
    module_name,
    needed,
    parse_dep,
    read_module,
)

_DEP = """\
kernel/fs/fuse/fuse.ko.xz:
kernel/drivers/virtio/virtio.ko.xz:
kernel/drivers/virtio/virtio_ring.ko.xz: kernel/drivers/virtio/virtio.ko.xz
kernel/fs/fuse/virtiofs.ko.xz: kernel/fs/fuse/fuse.ko.xz kernel/drivers/virtio/virtio_ring.ko.xz
"""


def test_what_a_module_needs_comes_before_it() -> None:
    order = load_order(["virtiofs"], parse_dep(_DEP), [])
    assert [module_name(path) for path in order] == ["fuse", "virtio", "virtio_ring", "virtiofs"]


def test_each_module_once_and_none_that_is_built_in() -> None:
    order = load_order(["virtio_ring", "overlay", "virtiofs"], parse_dep(_DEP), ["fs/overlay.ko"])
    assert [module_name(path) for path in order] == ["virtio", "virtio_ring", "fuse", "virtiofs"]


def test_a_module_that_is_nowhere_is_an_error() -> None:
    with pytest.raises(ModuleError, match=r"overlay is neither built in nor in modules\.dep"):
        load_order(["overlay"], parse_dep(_DEP), [])


def test_a_circle_is_an_error() -> None:
    with pytest.raises(ModuleError, match=r"circle: a\.ko -> b\.ko -> a\.ko"):
        load_order(["a"], {"a.ko": ("b.ko",), "b.ko": ("a.ko",)}, [])


@given(st.dictionaries(st.integers(0, 30), st.sets(st.integers(0, 30), max_size=5)))
def test_any_order_is_sound(needs: dict[int, set[int]]) -> None:
    """Of modules that need only such with smaller numbers, so without circles."""
    table = {
        f"m{number}.ko": tuple(f"m{other}.ko" for other in others if other < number)
        for number, others in needs.items()
    }
    order = load_order([module_name(path) for path in table], table, [])
    assert len(order) == len(set(order))
    for path, others in table.items():
        assert all(order.index(other) < order.index(path) for other in others)


def test_dashes_and_underscores_are_the_same() -> None:
    assert module_name("kernel/drivers/char/hw_random/virtio-rng.ko.xz") == "virtio_rng"


def test_modules_are_decompressed(tmp_path: Path) -> None:
    (tmp_path / "plain.ko").write_bytes(b"module")
    (tmp_path / "packed.ko.xz").write_bytes(lzma.compress(b"module"))
    (tmp_path / "other.ko.zst").write_bytes(b"?")
    assert read_module(tmp_path / "plain.ko") == read_module(tmp_path / "packed.ko.xz") == b"module"
    with pytest.raises(ModuleError, match=r"other\.ko\.zst: do not know this compression"):
        read_module(tmp_path / "other.ko.zst")


def test_needed_reads_a_module_tree(tmp_path: Path) -> None:
    (tmp_path / "modules.dep").write_text(_DEP)
    (tmp_path / "modules.builtin").write_text("kernel/fs/overlay.ko\nkernel/virtio_pci.ko\n")
    assert [path.name for path in needed(tmp_path)][-1] == "virtiofs.ko.xz"

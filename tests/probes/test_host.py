# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from probes.host import (
    online_nodes,
    parse_id_list,
    possible_cpus,
    possible_nodes,
    read_number,
    read_text,
)
from tests.probes.trees import make_host


@pytest.mark.parametrize(
    ("text", "ids"), [("0\n", (0,)), ("0-3", (0, 1, 2, 3)), ("0-1,4,6-7", (0, 1, 4, 6, 7))]
)
def test_the_kernels_list_format(text: str, ids: tuple[int, ...]) -> None:
    assert parse_id_list(text) == ids


@pytest.mark.parametrize("text", ["", "x", "0-", "-1", "1,,2", "+1", "1_0", "3-1", "0-4294967295"])
def test_what_is_no_list(text: str) -> None:
    with pytest.raises(ValueError, match="not a "):
        parse_id_list(text)


def test_nodes_and_cpus(tmp_path: Path) -> None:
    host = make_host(
        tmp_path,
        {
            "sys/devices/system/node/possible": "0-7\n",
            "sys/devices/system/node/online": "0,2\n",
            "sys/devices/system/cpu/possible": "0-15\n",
        },
    )
    assert possible_nodes(host) == tuple(range(8))
    assert online_nodes(host) == (0, 2)
    assert possible_cpus(host) == tuple(range(16))


def test_a_kernel_without_numa(tmp_path: Path) -> None:
    host = make_host(tmp_path, {})
    assert possible_nodes(host) == online_nodes(host) == (0,)


def test_what_can_not_be_read_is_none(tmp_path: Path) -> None:
    assert read_text(tmp_path / "absent") is None


@pytest.mark.parametrize("text", ["", "-5", "+5", "1_0", "0x10", "5 6", "٣", "9" * 5000])
def test_what_is_no_number(tmp_path: Path, text: str) -> None:
    path = tmp_path / "number"
    path.write_text(text + "\n")
    with pytest.raises(ValueError, match="number is no number"):
        read_number(path)


def test_numbers(tmp_path: Path) -> None:
    path = tmp_path / "number"
    path.write_text("0x1a\n")
    assert read_number(path, 16) == 26  # as in /sys/firmware/memmap
    path.write_text("509\n")
    assert read_number(path) == 509
    assert read_number(tmp_path / "gone") is None

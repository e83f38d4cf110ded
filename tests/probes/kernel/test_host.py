# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from probes.kernel.host import (
    is_missing,
    online_nodes,
    parse_count,
    parse_id_list,
    possible_cpus,
    possible_nodes,
    read_count,
    read_number,
    read_or_error,
    read_text,
)
from tests.probes.trees import make_host


@pytest.mark.parametrize(
    ("text", "ids"), [("0\n", (0,)), ("0-3", (0, 1, 2, 3)), ("0-1,4,6-7", (0, 1, 4, 6, 7))]
)
def test_parse_id_list_reads_ranges_and_single_ids(text: str, ids: tuple[int, ...]) -> None:
    assert parse_id_list(text) == ids


@pytest.mark.parametrize("text", ["", "x", "0-", "-1", "1,,2", "+1", "1_0", "3-1", "0-4294967295"])
def test_parse_id_list_rejects_invalid_text(text: str) -> None:
    with pytest.raises(ValueError, match="not a "):
        parse_id_list(text)


def test_nodes_and_cpus_are_read_from_sysfs(tmp_path: Path) -> None:
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


def test_a_kernel_without_numa_has_node_0(tmp_path: Path) -> None:
    host = make_host(tmp_path, {})
    assert possible_nodes(host) == online_nodes(host) == (0,)


def test_read_text_of_a_missing_file_is_none(tmp_path: Path) -> None:
    assert read_text(tmp_path / "absent") is None


@pytest.mark.parametrize("text", ["", "-5", "+5", "1_0", "0x10", "5 6", "٣", "9" * 5000])
def test_read_number_rejects_invalid_text(tmp_path: Path, text: str) -> None:
    path = tmp_path / "number"
    path.write_text(text + "\n")
    with pytest.raises(ValueError, match="number: not a number"):
        read_number(path)


def test_read_number_reads_decimal_and_hexadecimal(tmp_path: Path) -> None:
    path = tmp_path / "number"
    path.write_text("0x1a\n")
    assert read_number(path, 16) == 26  # as in /sys/firmware/memmap
    path.write_text("509\n")
    assert read_number(path) == 509
    assert read_number(tmp_path / "gone") is None


@pytest.mark.parametrize(
    ("text", "bits", "count"),
    [
        ("0", 64, 0),
        ("9223372036854775807", 64, (1 << 63) - 1),
        ("9223372036854775808", 64, -(1 << 63)),
        ("18446744073709551615", 64, -1),
        ("4294967295", 64, 4294967295),
        ("2147483647", 32, 2147483647),
        ("2147483648", 32, -2147483648),
        ("4294967295", 32, -1),
        ("4294967296", 32, 4294967296),  # exceeds 32 bits, so it is not wrapped
        ("18446744073709551614", 32, -2),
    ],
)
def test_parse_count_reads_wrapped_counters_as_negative(text: str, bits: int, count: int) -> None:
    assert parse_count(text, bits) == count


@pytest.mark.parametrize("text", ["-1", "18446744073709551616", "9" * 30, "", "1 2"])
def test_read_count_rejects_invalid_text(tmp_path: Path, text: str) -> None:
    (tmp_path / "count").write_text(f"{text}\n")
    with pytest.raises(ValueError, match="count: not a number"):
        read_count(tmp_path / "count")


def test_is_missing_is_false_for_unreadable_files(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert is_missing(read_or_error(tmp_path / "absent"))
    assert not is_missing(read_or_error(tmp_path / "loop"))
    assert not is_missing(read_or_error(tmp_path))  # a folder
    (tmp_path / "there").write_text("1\n")
    assert read_or_error(tmp_path / "there") == "1"


def test_an_empty_list_of_nodes_is_rejected_with_its_path(tmp_path: Path) -> None:
    host = make_host(tmp_path, {"sys/devices/system/node/online": "\n"})
    with pytest.raises(ValueError, match="node/online: not a number"):
        online_nodes(host)

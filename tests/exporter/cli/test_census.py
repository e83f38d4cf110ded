# SPDX-License-Identifier: Apache-2.0
import json

from exporter.cli.census import to_json, to_table
from probes.census.census import PoolCensus
from probes.geometry import GIB, MIB

ROWS = [PoolCensus(2 * MIB, 0, 37, 23, 7), PoolCensus(GIB, 1, 1, 1, 4095)]


def test_a_table_with_what_is_saved_of_what_could_be() -> None:
    assert to_table(ROWS, 4096).splitlines() == [
        "  SIZE  NODE     PAGES OPTIMIZED      SAVED   POSSIBLE",
        "   2MB     0        37        23    644 KiB   1.01 MiB",
        "   1GB     1         1         1     16 MiB     16 MiB",
        " total              38        24   16.6 MiB     17 MiB",
    ]


def test_json_is_exact() -> None:
    first, second = json.loads(to_json(ROWS, 4096))["pools"]
    assert first == {
        "size": "2MB",
        "numa_node": 0,
        "pages": 37,
        "optimized": 23,
        "saved_bytes": 23 * 7 * 4096,
        "possible_bytes": 37 * 7 * 4096,
    }
    assert second["saved_bytes"] == second["possible_bytes"] == 4095 * 4096

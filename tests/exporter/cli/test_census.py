# SPDX-License-Identifier: Apache-2.0
import json

from exporter.cli.census import Times, rows_of, to_json, to_table
from probes.census.census import NodeCensus, PoolCensus

CENSUS = [
    PoolCensus(9, 7, (NodeCensus(0, 37, 23),)),
    PoolCensus(13, 31, ()),
    PoolCensus(18, 4095, (NodeCensus(1, 1, 1),)),
]
TIMES = Times(23, 509, 1.5)
ROWS = rows_of(CENSUS, 4096)


def test_a_table_with_what_is_saved_of_what_could_be() -> None:
    assert to_table(ROWS).splitlines() == [
        "  SIZE  NODE     PAGES OPTIMIZED      SAVED   POSSIBLE",
        "   2MB     0        37        23    644 KiB   1.01 MiB",
        "   1GB     1         1         1     16 MiB     16 MiB",
        " total              38        24   16.6 MiB     17 MiB",
    ]


def test_json_is_exact() -> None:
    first, second = json.loads(to_json(ROWS, TIMES))["pools"]
    assert first == {
        "size": "2MB",
        "numa_node": 0,
        "pages": 37,
        "optimized": 23,
        "saved_bytes": 23 * 7 * 4096,
        "possible_bytes": 37 * 7 * 4096,
    }
    assert second["saved_bytes"] == second["possible_bytes"] == 4095 * 4096


def test_what_the_kernel_does_not_say_is_unknown_and_not_zero() -> None:
    rows = rows_of([PoolCensus(9, None, (NodeCensus(0, 37, 23),))], 4096)
    assert to_table(rows).splitlines()[1:] == [
        "   2MB     0        37        23          -          -",
        " total              37        23          -          -",
    ]
    assert json.loads(to_json(rows, TIMES))["pools"][0]["saved_bytes"] is None

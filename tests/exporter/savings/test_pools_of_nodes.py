# SPDX-License-Identifier: Apache-2.0
"""`hvoscope plan` on machines whose nodes do not all report their pools."""

from pathlib import Path

from tests.exporter.savings.test_plan import POOL, on_machine

NODES_4 = {
    "sys/devices/system/node/online": "0-3\n",
    POOL.format(0, 2048): "23\n",
    POOL.format(2, 2048): "509\n",
    "sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages": "532\n",
}


def test_nodes_without_a_pool_get_no_pages(tmp_path: Path) -> None:
    found = on_machine(tmp_path, NODES_4)
    assert (found["count"], found["frames_freed"], found["notes"]) == (532, 532 * 7, [])


def test_pages_that_no_node_reports_are_planned_and_noted(tmp_path: Path) -> None:
    found = on_machine(tmp_path, {**NODES_4, POOL.format(2, 2048): None})
    assert (found["count"], found["frames_freed"]) == (532, 532 * 7)
    assert found["notes"] == ["2MB: 509 of 532 huge pages are not reported by any node"]


def test_a_negative_pool_is_ignored_and_noted(tmp_path: Path) -> None:
    found = on_machine(tmp_path, {**NODES_4, POOL.format(0, 2048): "4294967295\n"})
    assert found["count"] == 532
    assert found["notes"] == [
        "2MB: node 0 is ignored: the kernel reports -1 huge pages",
        "2MB: 23 of 532 huge pages are not reported by any node",
    ]

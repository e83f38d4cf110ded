# SPDX-License-Identifier: Apache-2.0
"""The census of real kernels: every page of every pool, held against the kernel's own accounts."""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from tests.guests.kernel_matrix import whole
from tests.guests.kernels import Kernels
from tests.guests.precompiled import with_programs
from tests.guests.qemu import run_in_guest
from tests.kernel.census import SURPLUS
from tests.kernel.expected import EXPECTED
from tests.kernel.test_counts import MEMORY_MIB, samples, total

pytestmark = pytest.mark.kernel

GUEST_TIMEOUT_S = 900
BOOT = "hugetlb_free_vmemmap=on hugepages=37"
KERNELS = [kernel_name for kernel_name in whole() if kernel_name.startswith("debian")]
"""`patched` keeps two vmemmap pages, as Linux did to 5.17, without the member that says so then."""
MISCOUNTED = ("debian-6.12", "debian-6.12-stock")
"""These take 511 parts of a demoted 1 GB page for optimized that are not."""

OPERATIONS = {
    "": (37, 37),
    "grow 2MB 23": (60, 60),
    "hvo off": (60, 60),
    "grow 2MB 10": (70, 60),
    "hvo on": (70, 60),
    "shrink 2MB 20": (50, 50),  # the ten that are not optimized go first
    "surplus": (50 + SURPLUS, 50 + SURPLUS),
    "grow 1GB 1": (50, 50),
    "demote 1GB 1": (562, 562),
}
"""Pages of 2 MB and those of them that are optimized, after each operation."""


@dataclass(frozen=True)
class Seen:
    """One kernel's notes."""

    kernel_name: str
    notes: dict[str, Any]

    @property
    def steps(self) -> list[dict[str, Any]]:
        """One for each operation."""
        steps: list[dict[str, Any]] = self.notes["steps"]
        return steps

    def each(self) -> Iterator[tuple[str, dict[str, Any], list[dict[str, Any]]]]:
        """Operation, what the kernel accounts, rows of the census."""
        for step in self.steps:
            assert (step["exit_code"], step["stderr"]) == (0, ""), step["op"]
            yield step["op"], step["kernel"], json.loads(step["stdout"])["pools"]


@pytest.fixture(scope="module", params=KERNELS)
def seen(
    request: pytest.FixtureRequest, kernels: Kernels, tmp_path_factory: pytest.TempPathFactory
) -> Seen:
    """One boot of each kernel, with a pool from its command line."""
    kernel_name: str = request.param
    out = tmp_path_factory.mktemp(kernel_name)
    kernel = with_programs(kernels(kernel_name))
    operations = [operation for operation in OPERATIONS if operation]
    run = run_in_guest(
        replace(kernel, append=f"{kernel.append} {BOOT}"),
        (sys.executable, "-m", "tests.kernel.census", str(out), *operations),
        out=out,
        memory_mib=MEMORY_MIB,
        timeout_s=GUEST_TIMEOUT_S,
    )
    assert run.exit_code == 0, run.stderr
    return Seen(kernel_name, json.loads((out / "census.json").read_text()))


def counted(step: dict[str, Any]) -> tuple[dict[tuple[int, int], int], int]:
    """What a census found: optimized pages by order and node, and frames that they save."""
    assert (step["exit_code"], step["stderr"]) == (0, ""), step["op"]
    pools = json.loads(step["stdout"])["pools"]
    orders = {"2MB": 9, "1GB": 18}
    optimized = {(orders[pool["size"]], pool["numa_node"]): pool["optimized"] for pool in pools}
    return optimized, sum(pool["saved_bytes"] for pool in pools) // 4096


def kept(notes: dict[str, Any]) -> tuple[dict[tuple[int, int], int], int]:
    """What the probes kept, in the same shape; a size without pages is left out of both."""
    assert "unknown" not in notes
    return {(order, node): n for order, node, n in notes["optimized"]}, notes["saved_frames"]


def agree(notes: dict[str, Any], step: dict[str, Any]) -> bool:
    """Whether both found the same pages and the same frames."""
    (ours, our_frames), (theirs, their_frames) = kept(notes), counted(step)
    return our_frames == their_frames and {k: n for k, n in ours.items() if n} == {
        k: n for k, n in theirs.items() if n
    }


def test_every_page_and_every_optimized_page_is_counted(seen: Seen) -> None:
    for operation, _, pools in seen.each():
        small = [pool for pool in pools if pool["size"] == "2MB"]
        pages = sum(pool["pages"] for pool in small)
        optimized = sum(pool["optimized"] for pool in small)
        assert (pages, optimized) == OPERATIONS[operation], operation
        large = [(pool["pages"], pool["optimized"]) for pool in pools if pool["size"] == "1GB"]
        assert large == ([(1, 1)] if operation == "grow 1GB 1" else []), operation


def test_each_nodes_pages_are_those_of_its_own_files(seen: Seen) -> None:
    for operation, kernel, pools in seen.each():
        counted = {(pool["numa_node"], pool["size"]): pool["pages"] for pool in pools}
        files = {
            (int(node.removeprefix("node")), {"2048": "2MB", "1048576": "1GB"}[size]): pages
            for place, pages in kernel["pools"].items()
            for node, size in [place.removesuffix("kB").split(" hugepages-")]
            if pages
        }
        assert counted == files, operation


def test_what_is_saved_is_what_the_kernel_accounts(seen: Seen) -> None:
    steps = list(seen.each())
    compared = 0
    _, first, pools = steps[0]
    for operation, kernel, rows in steps[1:]:
        if kernel["memmap_pages"] is None or (
            seen.kernel_name in MISCOUNTED and operation.startswith("demote")
        ):
            continue
        fall = first["memmap_pages"] - kernel["memmap_pages"]
        saved = sum(row["saved_bytes"] for row in rows) - sum(row["saved_bytes"] for row in pools)
        assert saved == fall * 4096, operation
        compared += 1
    # nr_memmap_* came with Linux 6.11, the new head page with 6.2.
    assert (compared > 0) == bool(EXPECTED[seen.kernel_name].head)


def test_the_probes_keep_the_census_exactly(seen: Seen) -> None:
    for step in seen.steps:
        if seen.kernel_name in MISCOUNTED and step["op"].startswith("demote"):
            assert not agree(step["kept"], step)
            continue
        assert agree(step["kept"], step), step["op"]


def test_a_restart_finds_what_was_kept(seen: Seen) -> None:
    assert agree(seen.notes["restarted"], seen.steps[-1])


def test_a_reload_holds_a_later_census_against_the_count(seen: Seen) -> None:
    before, after = (samples(seen.notes["reloaded"][when]) for when in ("before", "after"))
    assert "census: the count differs by 0 frames" in seen.notes["reloaded"]["log"]
    assert total(after, "hvo_accounting_drift_frames") == 0
    drift_before = [value for (name, _), value in before.items() if "drift" in name]
    # Before Linux 6.11 only the later census can tell.
    assert drift_before == ([] if seen.steps[0]["kernel"]["memmap_pages"] is None else [0])
    name = "hvo_census_timestamp_seconds"
    assert total(after, name) > total(before, name) > 0
    for name in ("hvo_optimized_hugepages", "hvo_saved_bytes"):
        assert total(after, name) == total(before, name) > 0


def test_a_start_on_a_busy_pool_is_absent_or_right(seen: Seen) -> None:
    """A pool that holds 23 more or not has no other number of optimized pages."""
    churned = seen.notes["churned"]
    assert agree(churned["after"]["kept"], churned["after"])
    idle = sum(kept(churned["after"]["kept"])[0].values())
    for notes in churned["during"]:
        if "unknown" not in notes:
            assert idle <= sum(kept(notes)[0].values()) <= idle + 23
    if seen.kernel_name not in MISCOUNTED:
        assert agree(seen.notes["at_end"]["kept"], seen.notes["at_end"])

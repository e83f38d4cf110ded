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
from tests.guests.qemu import run_in_guest
from tests.kernel.census import SURPLUS
from tests.kernel.expected import EXPECTED
from tests.kernel.test_counts import MEMORY_MIB

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
    steps: list[dict[str, Any]]

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
    kernel = kernels(kernel_name)
    operations = [operation for operation in OPERATIONS if operation]
    run = run_in_guest(
        replace(kernel, append=f"{kernel.append} {BOOT}"),
        (sys.executable, "-m", "tests.kernel.census", str(out), *operations),
        out=out,
        memory_mib=MEMORY_MIB,
        timeout_s=GUEST_TIMEOUT_S,
    )
    assert run.exit_code == 0, run.stderr
    return Seen(kernel_name, json.loads((out / "census.json").read_text())["steps"])


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

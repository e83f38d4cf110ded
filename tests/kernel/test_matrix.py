# SPDX-License-Identifier: Apache-2.0
"""The page that has the table of kernels."""

import pytest

from tests.guests.kernel_matrix import KERNELS, under_test
from tests.kernel.expected import EXPECTED
from tests.kernel.matrix import PAGE, page_with


def rows(page: str) -> list[str]:
    """Lines of the table, without its header."""
    return [
        line for line in page.splitlines() if line.split(" | ")[0].removeprefix("| ") in KERNELS
    ]


def test_rows_are_replaced_and_others_stay_in_the_order_of_the_kernels() -> None:
    page = page_with(PAGE.read_text(), {"v17": "| v17 | one |", "debian-6.1": "| debian-6.1 | a |"})
    page = page_with(page, {"patched": "| patched | two |", "v17": "| v17 | three |"})
    shown = rows(page)
    assert shown[:2] == ["| v17 | three |", "| patched | two |"]
    assert "| debian-6.1 | a |" in shown
    assert page_with(page, {}) == page


def test_a_page_without_the_markers_is_refused() -> None:
    with pytest.raises(ValueError, match="has no lines"):
        page_with("# Kernels\n", {})


def test_every_kernel_that_works_says_what_it_counts() -> None:
    assert set(EXPECTED) == set(under_test(environ={}))

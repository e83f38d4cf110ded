# SPDX-License-Identifier: Apache-2.0
"""The golden scrape and the generated page of metrics."""

import subprocess
from pathlib import Path

from exporter.metrics import catalogue
from exporter.metrics import page as metrics_page
from tests.exporter.golden import (
    GOLDEN,
    ONLY_LIVE,
    ONLY_OF_BROKEN_KERNELS,
    ONLY_STREAMING,
    normalized,
    shape,
    simulated_scrape,
)
from tests.tools import need

PAGE = Path(__file__).parents[3] / "docs/metrics.md"


def test_the_scrape_is_the_golden_one() -> None:
    assert normalized(simulated_scrape()) == GOLDEN.read_text()


def test_the_page_is_generated_from_the_catalogue() -> None:
    assert PAGE.read_text() == "\n".join([*metrics_page.lines(), ""])


def test_normalization_changes_only_varying_values() -> None:
    text = 'hvo_build_info{python="3.11.7",version="9"} 1.0\nhvo_enabled 1.0\n'
    assert normalized(text) == 'hvo_build_info{python="",version=""} 1.0\nhvo_enabled 1.0\n'
    text = 'process_open_fds 9.0\nhvo_scrape_collector_duration_seconds{collector="x"} 1e-05\n'
    assert normalized(text) == (
        'process_open_fds 0.0\nhvo_scrape_collector_duration_seconds{collector="x"} 0.0\n'
    )


def test_the_golden_scrape_has_the_whole_catalogue() -> None:
    found = shape(GOLDEN.read_text())
    for metric in catalogue.ALL:
        if metric.name not in ONLY_LIVE | ONLY_STREAMING | ONLY_OF_BROKEN_KERNELS:
            extra = {"le"} if metric.kind == catalogue.HISTOGRAM else set()
            assert found.pop(metric.name) - extra == set(metric.labels)
    assert all(name.startswith("process_") for name in found)


def test_promtool_lint_finds_nothing() -> None:
    checked = subprocess.run(
        [need("promtool", "prometheus"), "check", "metrics"],
        input=GOLDEN.read_text(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")

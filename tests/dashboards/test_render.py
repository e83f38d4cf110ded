# SPDX-License-Identifier: Apache-2.0
"""Dashboards rendered with Grafana's libraries: no panel is empty, and values are exact."""

import html
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dashboards.boards.build import dashboards
from dashboards.lint.model import Board
from dashboards.prove.history import EVERY, START, WINDOW, Day
from dashboards.render.__main__ import SHOWN
from dashboards.render.packages import build
from dashboards.render.pictures import document, height_of, picture
from dashboards.render.site import NOTE, Settings, serving
from tests.dashboards.expected import PANELS
from tests.dashboards.oracle import Oracle
from tests.tools import need

pytestmark = pytest.mark.dashboards

MODELS = {model["uid"]: model for model in dashboards().values()}
SECONDS = 86_400 - 480.0
"""The time of the day that is rendered."""
PNG = b"\x89PNG\r\n\x1a\n"

Pages = dict[str, str]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, history: Day) -> Iterator[str]:
    need("npm", "nodejs npm")
    need("chromium", "chromium")
    folder = tmp_path_factory.mktemp("site")
    build(folder)
    settings = Settings(history.prometheus.url, START + SECONDS, WINDOW.shown, EVERY)
    with serving(folder, settings) as url:
        yield url


@pytest.fixture(scope="module")
def pages(site: str) -> Pages:
    """Render every dashboard; return HTML by name."""
    return {uid: document(_address(site, uid), height_of(model)) for uid, model in MODELS.items()}


def _address(site: str, uid: str) -> str:
    return f"{site}?d={uid}&var-instance={SHOWN}"


def _oracle(history: Day, uid: str) -> Oracle:
    """Return the oracle of the machines that a dashboard shows: Host has one."""
    shown = [m for m in history.machines if uid != "hvo-host" or m.instance == SHOWN]
    return Oracle(shown, SECONDS, WINDOW, EVERY)


@pytest.mark.parametrize("uid", MODELS)
def test_everything_is_rendered(pages: Pages, uid: str) -> None:
    assert 'data-drawn="yes"' in pages[uid]
    assert re.findall(r'<pre id="problems">(.*?)</pre>', pages[uid], re.DOTALL) == [""]
    assert "No data" not in pages[uid]
    assert NOTE in pages[uid]


@pytest.mark.parametrize("uid", MODELS)
def test_every_panel_shows_its_series(pages: Pages, history: Day, uid: str) -> None:
    oracle = _oracle(history, uid)
    for panel in Board(MODELS[uid]).panels():
        cell = cell_of(pages[uid], panel["title"])
        if panel["type"] == "timeseries":
            shown = text_of(pages[uid], panel["title"])
            for name in names_of(uid, panel, oracle):
                assert f" {name} " in shown, panel["title"]
        if panel["type"] == "bargauge":
            for name in names_of(uid, panel, oracle):
                assert f" {name} " in text_of(pages[uid], panel["title"])
        if panel["type"] == "table":
            has_rows = 'role="gridcell"' in cell
            assert has_rows == (panel["title"] != "Failed checks"), panel["title"]
        if panel["type"] == "heatmap":
            assert "heatmap-legend" in cell


def names_of(uid: str, panel: dict[str, Any], oracle: Oracle) -> Iterator[str]:
    """Return the legends of the series that the oracle knows."""
    for target in panel["targets"]:
        expectation = PANELS.get((uid, panel["title"], target["refId"]))
        for labels in expectation(oracle) if expectation else ():
            name = str(target["legendFormat"])
            for label, value in labels:
                name = name.replace(f"{{{{{label}}}}}", value)
            yield re.sub(r"{{\w+}}", "", name)


def cell_of(page: str, title: str) -> str:
    """Return the HTML of one panel."""
    begin = page.index(f'class="cell" data-title="{html.escape(title)}"')
    end = page.find('class="cell"', begin + 1)
    return page[begin:end]


def text_of(page: str, title: str) -> str:
    text = html.unescape(re.sub(r"<[^>]+>", " ", cell_of(page, title)))
    return re.sub(r"\s+", " ", text)


def test_stat_panels_show_exact_values(pages: Pages, history: Day) -> None:
    oracle = _oracle(history, "hvo-host")

    def true(title: str) -> float:
        (value,) = PANELS["hvo-host", title, "A"](oracle).values()
        return value

    host = pages["hvo-host"]
    # Its census has ended with a missed hit: the kernel's accounting is shown.
    (saved,) = oracle.now("saved").values()
    assert f" {saved / 2**20:.1f} MiB" in text_of(host, "Memory saved")
    assert " not known " in text_of(host, "Saved of possible")
    assert (true("HVO switch"), true("Detached probes")) == (1, 0)
    assert " on " in text_of(host, "HVO switch")
    for title in ("Optimize failures", "Restore failures", "Accounting drift"):
        assert true(title) != 0
        assert f" {true(title):.0f} " in text_of(host, title)


def test_tables_show_names_mappings_and_units(pages: Pages) -> None:
    machines = text_of(pages["hvo-fleet"], "Hosts")
    for word in ("exporter", "HVO", "saved", "rest. failed", "off", "7.1"):
        assert f" {word} " in machines
    assert re.search(r"lab-1:10917\s+\d+\s+DOWN", machines)
    assert "Value #" not in machines


@pytest.mark.parametrize("uid", MODELS)
def test_pictures(site: str, uid: str, tmp_path: Path) -> None:
    """Screenshots can be taken; the committed ones are in dashboards/pictures/."""
    path = tmp_path / f"{uid}.png"
    picture(_address(site, uid), height_of(MODELS[uid]), path)
    data = path.read_bytes()
    assert data.startswith(PNG)
    assert int.from_bytes(data[20:24]) == height_of(MODELS[uid])
    assert len(data) > 50_000  # an empty page has about 10,000 bytes


@pytest.mark.parametrize("uid", MODELS)
def test_pictures_are_in_the_repository(uid: str) -> None:
    data = (Path(__file__).parents[2] / f"dashboards/pictures/{uid}.png").read_bytes()
    assert int.from_bytes(data[20:24]) == height_of(MODELS[uid]), "python -m dashboards.render"

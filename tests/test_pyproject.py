# SPDX-License-Identifier: Apache-2.0
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = SETTINGS["project"]


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[^\w.-]", requirement, maxsplit=1)[0] for requirement in requirements}


def test_bcc_is_never_asked_of_the_package_index() -> None:
    extras = PROJECT["optional-dependencies"].values()
    wanted = names(PROJECT["dependencies"]).union(*(names(extra) for extra in extras))
    assert "prometheus-client" in wanted  # the names are read right
    assert not {name for name in wanted if "bcc" in name.lower()}


def test_every_requirement_has_an_upper_bound() -> None:
    for requirement in PROJECT["dependencies"]:
        assert re.search(r"<\d", requirement), requirement


def test_the_oldest_python_is_the_same_everywhere() -> None:
    oldest = PROJECT["requires-python"].removeprefix(">=")
    assert re.fullmatch(r"3\.\d+", oldest)
    assert SETTINGS["tool"]["mypy"]["python_version"] == oldest
    assert SETTINGS["tool"]["ruff"]["target-version"] == f"py{oldest.replace('.', '')}"
    assert f"python3 (>= {oldest})" in (ROOT / "packaging/debian/control").read_text()
    assert f"python3 >= {oldest}," in (ROOT / "packaging/rpm/hvoscope.spec").read_text()
    for page in ("README.md", "docs/service.md"):
        assert f"Python {oldest}" in (ROOT / page).read_text(), page

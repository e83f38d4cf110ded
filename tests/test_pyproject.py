# SPDX-License-Identifier: Apache-2.0
import re
import tomllib
from pathlib import Path

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]


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

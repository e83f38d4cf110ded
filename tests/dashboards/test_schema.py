# SPDX-License-Identifier: Apache-2.0
"""The dashboards' JSON has the types of @grafana/schema, checked by the TypeScript compiler."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from dashboards.boards.build import dashboards
from dashboards.render.schema import check
from tests.tools import need

pytestmark = pytest.mark.dashboards

MODELS = {name.removesuffix(".json").replace("-", "_"): m for name, m in dashboards().items()}
SPOILED: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "unknown_key": (lambda m: m.update(color="red"), "color"),
    "wrong_type": (lambda m: m.update(title=5), "title"),
    "wrong_enumeration": (lambda m: m["panels"][1].update(gridPos="left"), "gridPos"),
    "wrong_option": (lambda m: m["panels"][1]["options"].update(graphMode="lines"), "graphMode"),
}


@pytest.fixture(scope="module")
def found() -> list[str]:
    """Run the compiler once for all dashboards, valid and spoiled."""
    need("npm", "nodejs npm")
    models = dict(MODELS)
    for name, (spoil, _) in SPOILED.items():
        models[name] = copy.deepcopy(MODELS["hvo_host"])
        spoil(models[name])
    return check(models)


@pytest.mark.parametrize("name", MODELS)
def test_our_dashboards_have_the_schemas_types(found: list[str], name: str) -> None:
    assert [line for line in found if line.startswith(f"{name}.ts")] == []


@pytest.mark.parametrize("name", SPOILED)
def test_a_spoiled_dashboard_is_an_error(found: list[str], name: str) -> None:
    lines = [line for line in found if line.startswith(f"{name}.ts")]
    assert any(SPOILED[name][1] in line or "not assignable" in line for line in lines), found

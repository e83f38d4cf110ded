# SPDX-License-Identifier: Apache-2.0
"""Check the dashboards' JSON against the types of @grafana/schema, with the TypeScript compiler."""

import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from dashboards.lint.model import Board
from dashboards.render.packages import HERE, install

_OPTIONS: Mapping[str, str] = {
    "timeseries": "TimeSeries",
    "stat": "Stat",
    "bargauge": "BarGauge",
    "table": "Table",
    "heatmap": "Heatmap",
}
"""Names of the schema's files by panel type."""

# JSON has strings where the types have string enumerations.
_LOOSE = """
type Loose<T> = T extends string ? `${T}`
  : T extends Array<infer U> ? Array<Loose<U>>
  : T extends object ? { [K in keyof T]: Loose<T[K]> }
  : T;
"""


def check(models: Mapping[str, dict[str, Any]]) -> list[str]:
    """Return the compiler's errors for ``models`` (by name), one per line.

    Raises ``RenderError`` if the compiler can't be installed.
    """
    folder = install()
    with TemporaryDirectory(prefix="schema-", dir=folder) as work:
        for name, model in models.items():
            (Path(work) / f"{name}.ts").write_text("\n".join(_source(model)))
        shutil.copy(HERE / "tsconfig.schema.json", Path(work) / "tsconfig.json")
        command = [str(folder / "node_modules/.bin/tsc"), "-p", work, "--pretty", "false"]
        done = subprocess.run(command, cwd=work, capture_output=True, text=True, check=False)
    return [line for line in done.stdout.splitlines() if ": error " in line]


def _typed(model: dict[str, Any]) -> dict[str, Any]:
    """Leave out what the schema's types lack: the query of a Prometheus annotation."""
    notes = [
        {key: value for key, value in note.items() if key != "expr"}
        for note in model["annotations"]["list"]
    ]
    return {**model, "annotations": {"list": notes}}


def _source(model: dict[str, Any]) -> Iterator[str]:
    kinds = sorted({panel["type"] for panel in Board(model).panels()})
    yield "import type { Dashboard } from '@grafana/schema';"
    for kind in kinds:
        file = f"@grafana/schema/dist/esm/raw/composable/{kind}/panelcfg/x/"
        yield f"import type * as {kind} from '{file}{_OPTIONS[kind]}PanelCfg_types.gen';"
    yield _LOOSE
    yield f"export const board: Loose<Dashboard> = {json.dumps(_typed(model), indent=1)};"
    for panel in Board(model).panels():
        options = json.dumps(panel.get("options", {}), indent=1)
        kind = f"Partial<Loose<{panel['type']}.Options>>"
        yield f"export const panel{panel['id']}: {kind} = {options};"

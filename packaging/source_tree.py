# SPDX-License-Identifier: Apache-2.0
"""The files that both packages install, laid out in one folder."""

import os
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PACKAGING = Path(__file__).parent
ROOT = PACKAGING.parent
NAME = "hvoscope"
SOURCES = ("probes", "exporter", "sim_backend")
UNITS = ("hvoscope.service", "hvoscope.socket", "hvoscope.default")

SHARED: Mapping[str, str] = {
    "rules": "dashboards/rules/*.yml",
    "alertmanager": "dashboards/alertmanager/*.yml",
    "dashboards": "dashboards/json/*.json",
    "runbooks": "dashboards/runbooks/*.md",
    ".": "docs/metrics.md",
}
"""Files for Prometheus, Alertmanager and Grafana, by their folder below /usr/share/hvoscope."""


def read_project() -> Mapping[str, Any]:
    """Return the table ``project`` of pyproject.toml."""
    project: Mapping[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return project


def require(tools: Mapping[str, str], install: str) -> None:
    """Exit with one line if a program is missing; ``tools`` has its package, by its name."""
    if missing := [tool for tool in tools if shutil.which(tool) is None]:
        packages = " ".join(sorted({tools[tool] for tool in missing}))
        sys.exit(f"missing build tools: {', '.join(missing)}: {install.format(packages)}")


def lay_out(tree: Path) -> None:
    """Write the modules, the launcher, manual pages, documentation and shared files.

    Their folders: ``app``, ``bin``, ``man``, ``completion``, ``docs``, ``share``.
    """
    (tree / "bin").mkdir(parents=True)
    launcher = tree / "bin" / NAME
    shutil.copy(PACKAGING / "launcher.py", launcher)
    launcher.chmod(0o755)
    shutil.copy(ROOT / "README.md", tree)
    shutil.copytree(ROOT / "docs", tree / "docs")
    _install_app(tree)
    _copy_shared(tree / "share")
    date = time.strftime("%F", time.gmtime(epoch()))
    _python(str(PACKAGING / "man_pages.py"), str(tree), date)


def run_logged(command: list[str], log: Path, cwd: Path) -> None:
    """Run a build; exit with its output if it fails."""
    with log.open("wb") as file:
        built = subprocess.run(
            command,
            cwd=cwd,
            env=os.environ | {"SOURCE_DATE_EPOCH": str(epoch())},
            stdout=file,
            stderr=file,
            check=False,
        )
    if built.returncode:
        sys.exit(log.read_text())


def to_dist(package: Path) -> None:
    """Copy the package to ``dist/`` and print its path."""
    (ROOT / "dist").mkdir(exist_ok=True)
    sys.stdout.write(f"{shutil.copy(package, ROOT / 'dist')}\n")


def epoch() -> int:
    """Return the sources' time in seconds since 1970, for reproducible packages."""
    if given := os.environ.get("SOURCE_DATE_EPOCH"):
        return int(given)
    last_commit = subprocess.run(
        ["git", "log", "-1", "--format=%ct"],  # noqa: S607 - whichever git there is
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    return int(last_commit.stdout.strip() or time.time())


def _copy_shared(share: Path) -> None:
    for folder, pattern in SHARED.items():
        (share / folder).mkdir(parents=True, exist_ok=True)
        for path in sorted(ROOT.glob(pattern)):
            # Runbooks are two folders below docs/ here, but not on the host.
            text = path.read_text().replace("(../../docs/", f"(../../doc/{NAME}/docs/")
            (share / folder / path.name).write_text(text)


def _install_app(tree: Path) -> None:
    """Install the modules and their metadata, which has the version, with pip."""
    source = tree.with_name("source")
    for name in SOURCES:  # copied: setuptools writes build files into the source tree
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    app = tree / "app"
    _python("-m", "pip", "install", "-q", "--no-deps", "--no-compile", "--target", app, source)
    shutil.rmtree(app / "bin")
    for path in app.glob("*.dist-info/*"):
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name not in ("METADATA", "entry_points.txt"):
            path.unlink()


def _python(*arguments: str | Path) -> None:
    subprocess.run([sys.executable, *map(str, arguments)], check=True, cwd=ROOT)

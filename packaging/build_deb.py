# SPDX-License-Identifier: Apache-2.0
"""Build the Debian package: ``python packaging/build_deb.py`` writes it to ``dist/``.

Prepares a source tree in ``build/deb`` and runs debhelper on it. The package's version, modules and
dependencies come from ``pyproject.toml``, its manual pages from the command line.
"""

import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Mapping
from email.utils import formatdate
from pathlib import Path
from typing import Any

PACKAGING = Path(__file__).parent
ROOT = PACKAGING.parent
NAME = "hvoscope"
SOURCES = ("probes", "exporter", "sim_backend")
UNITS = ("hvoscope.service", "hvoscope.socket", "hvoscope.default")

DEBIAN_NAMES: Mapping[str, str] = {"pyyaml": "python3-yaml"}
"""Debian names that are not python3- and the name on the Python package index."""


def main() -> None:
    """Build the package and print its path."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    work = ROOT / "build/deb"
    shutil.rmtree(work, ignore_errors=True)
    tree = work / NAME
    _lay_out(tree, project)
    with (work / "log").open("wb") as log:
        built = subprocess.run(
            ["dpkg-buildpackage", "--build=binary", "--no-sign"],  # noqa: S607 - Debian's own
            cwd=tree,
            env=os.environ | {"SOURCE_DATE_EPOCH": str(_epoch())},
            stdout=log,
            stderr=log,
            check=False,
        )
    if built.returncode:
        sys.exit((work / "log").read_text())
    package = next(work.glob("*.deb"))
    (ROOT / "dist").mkdir(exist_ok=True)
    sys.stdout.write(f"{shutil.copy(package, ROOT / 'dist')}\n")


def debian_names(requirements: list[str]) -> list[str]:
    """Return the Debian names of required packages."""
    names = [re.split(r"[^\w.-]", line, maxsplit=1)[0].lower() for line in requirements]
    return [DEBIAN_NAMES.get(name, f"python3-{name}") for name in names]


def _lay_out(tree: Path, project: Mapping[str, Any]) -> None:
    shutil.copytree(PACKAGING / "debian", tree / "debian")
    for unit in UNITS:
        shutil.copy(PACKAGING / unit, tree / "debian")
    (tree / "bin").mkdir()
    launcher = tree / "bin" / NAME
    shutil.copy(PACKAGING / "launcher.py", launcher)
    launcher.chmod(0o755)
    shutil.copy(ROOT / "README.md", tree)
    shutil.copytree(ROOT / "docs", tree / "docs")
    _install_app(tree)
    pages = (str(PACKAGING / "man_pages.py"), str(tree), time.strftime("%F", time.gmtime(_epoch())))
    _python(*pages)
    (tree / "debian/changelog").write_text(_changelog(project["version"]))
    depends = ", ".join(debian_names(project["dependencies"]))
    (tree / "debian/hvoscope.substvars").write_text(f"hvoscope:Depends={depends}\n")


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


def _changelog(version: str) -> str:
    date = formatdate(_epoch())
    control = (PACKAGING / "debian/control").read_text()
    maintainer = next(
        line.partition(": ")[2] for line in control.splitlines() if line.startswith("Maintainer")
    )
    return (
        f"{NAME} ({version}) unstable; urgency=medium\n\n"
        f"  * Release {version}; see CHANGELOG.md.\n\n"
        f" -- {maintainer}  {date}\n"
    )


def _epoch() -> int:
    """Return the sources' time in seconds since 1970, for reproducible packages."""
    if epoch := os.environ.get("SOURCE_DATE_EPOCH"):
        return int(epoch)
    last_commit = subprocess.run(
        ["git", "log", "-1", "--format=%ct"],  # noqa: S607 - whichever git there is
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    return int(last_commit.stdout.strip() or time.time())


if __name__ == "__main__":
    main()

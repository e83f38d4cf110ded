# SPDX-License-Identifier: Apache-2.0
"""Build the Debian package: ``python packaging/build_deb.py`` writes it to ``dist/``.

Prepares a source tree in ``build/deb`` and runs debhelper on it. The package's version, modules and
dependencies come from ``pyproject.toml``, its manual pages from the command line.
"""

import re
import shutil
from collections.abc import Mapping
from email.utils import formatdate

from source_tree import (
    NAME,
    PACKAGING,
    ROOT,
    UNITS,
    epoch,
    lay_out,
    read_project,
    require,
    run_logged,
    to_dist,
)

TOOLS: Mapping[str, str] = {
    "dpkg-buildpackage": "dpkg-dev",
    "dh": "debhelper",
    "dh_python3": "dh-python",
}

DEBIAN_NAMES: Mapping[str, str] = {"pyyaml": "python3-yaml"}
"""Debian names that are not python3- and the name on the Python package index."""


def main() -> None:
    """Build the package and print its path."""
    require(TOOLS, "apt install {}")
    work = ROOT / "build/deb"
    shutil.rmtree(work, ignore_errors=True)
    tree = work / NAME
    lay_out(tree)
    shutil.copytree(PACKAGING / "debian", tree / "debian")
    for unit in UNITS:
        shutil.copy(PACKAGING / unit, tree / "debian")
    project = read_project()
    (tree / "debian/changelog").write_text(_changelog(project["version"]))
    depends = ", ".join(debian_names(project["dependencies"]))
    (tree / "debian/hvoscope.substvars").write_text(f"hvoscope:Depends={depends}\n")
    run_logged(["dpkg-buildpackage", "--build=binary", "--no-sign"], work / "log", tree)
    to_dist(next(work.glob("*.deb")))


def debian_names(requirements: list[str]) -> list[str]:
    """Return the Debian names of required packages."""
    names = [re.split(r"[^\w.-]", line, maxsplit=1)[0].lower() for line in requirements]
    return [DEBIAN_NAMES.get(name, f"python3-{name}") for name in names]


def _changelog(version: str) -> str:
    control = (PACKAGING / "debian/control").read_text()
    maintainer = next(
        line.partition(": ")[2] for line in control.splitlines() if line.startswith("Maintainer")
    )
    return (
        f"{NAME} ({version}) unstable; urgency=medium\n\n"
        f"  * Release {version}; see CHANGELOG.md.\n\n"
        f" -- {maintainer}  {formatdate(epoch())}\n"
    )


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""Build the RPM package: ``python packaging/build_rpm.py`` writes it to ``dist/``.

Prepares the files in ``build/rpm`` and runs rpmbuild, Debian's too, on ``packaging/rpm``. The
version and the dependencies come from ``pyproject.toml``.
"""

import shutil
from collections.abc import Mapping

from packaging.requirements import Requirement
from source_tree import (
    NAME,
    PACKAGING,
    ROOT,
    UNITS,
    lay_out,
    read_project,
    require,
    run_logged,
    to_dist,
)

SUSE_NAMES: Mapping[str, str] = {"pyyaml": "python3-PyYAML"}
"""SUSE's names that are not python3- and the name on the Python package index."""


def main() -> None:
    """Build the package and print its path."""
    require({"rpmbuild": "rpm"}, "apt install {} (Fedora, SUSE: rpm-build)")
    work = ROOT / "build/rpm"
    shutil.rmtree(work, ignore_errors=True)
    tree = work / NAME
    lay_out(tree)
    for name in (*(PACKAGING / unit for unit in UNITS), ROOT / "LICENSE"):
        shutil.copy(name, tree)
    project = read_project()
    defined = {
        "_topdir": str(work / "top"),
        "hvoscope_version": project["version"],
        "hvoscope_requires": ", ".join(map(rpm_requirement, project["dependencies"])),
        # As reproducible as the Debian package.
        "_buildhost": "localhost",
        "use_source_date_epoch_as_buildtime": "1",
        "clamp_mtime_to_source_date_epoch": "1",
    }
    options = [part for name, to in defined.items() for part in ("--define", f"{name} {to}")]
    spec = str(PACKAGING / "rpm/hvoscope.spec")
    command = ["rpmbuild", "-bb", "--build-in-place", *options, spec]
    run_logged(command, work / "log", tree)
    to_dist(next(work.glob("top/RPMS/noarch/*.rpm")))


def rpm_requirement(line: str) -> str:
    """Return the requirement in RPM's words, with its lower bound.

    ``python3dist()`` is made from a package's metadata (Fedora, RHEL with EPEL). On SUSE, packages
    of the usual Python provide ``python3-NAME``.
    """
    requirement = Requirement(line)
    name = requirement.name.lower()
    bound = next(f"{s.operator} {s.version}" for s in requirement.specifier if s.operator == ">=")
    suse = SUSE_NAMES.get(name, f"python3-{name}")
    return f"(python3dist({name}) {bound} or {suse} {bound})"


if __name__ == "__main__":
    main()

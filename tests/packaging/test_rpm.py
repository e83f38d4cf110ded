# SPDX-License-Identifier: Apache-2.0
"""The RPM: installed into a root of its own, with a database of its own."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]

packaged = pytest.mark.packaging


def out_of(*command: str | Path) -> str:
    ran = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=120, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    return ran.stdout


@pytest.fixture(scope="module")
def root(rpm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with the package; its scripts need a shell there, and run in test_deb.py."""
    root = tmp_path_factory.mktemp("root")
    out_of("rpm", "--root", root, "--initdb")
    # Debian's rpm warns that it is not for Debian's own packages.
    out_of("rpm", "--force-debian", "--root", root, "-i", "--nodeps", "--noscripts", rpm)
    return root


def hvoscope(root: Path, *arguments: str) -> str:
    """Run the installed program, with the Python packages of the tests."""
    return out_of(sys.executable, "-I", root / "usr/bin/hvoscope", *arguments)


@packaged
def test_the_installed_program_runs_from_there(root: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert hvoscope(root, "--version") == f"hvoscope, version {project['version']}\n"
    told = json.loads(hvoscope(root, "simulate", "--op", "grow 2MB 23", "--json"))
    remapped = [m["value"] for m in told["metrics"] if m["name"] == "hvo_ptes_remapped_total"]
    assert sum(remapped) == 23 * 8
    code = (root / "usr/bin/hvoscope").read_text().partition("from exporter")[0]
    code += "import exporter, probes, sim_backend\n"
    code += "print(exporter.__file__, probes.__file__, sim_backend.__file__)\n"
    script = root / "usr/bin/where"
    script.write_text(code)
    for path in out_of(sys.executable, "-I", script).split():
        assert path.startswith(f"{root}/usr/share/hvoscope/")


@packaged
def test_the_rpm_has_the_same_files_as_the_debian_package(rpm: Path, package: Path) -> None:
    listed = out_of("dpkg-deb", "--contents", package).splitlines()
    debian = {line.split()[5].removeprefix(".") for line in listed if line[0] != "d"}
    theirs = {
        "/etc/sysconfig/hvoscope": "/etc/default/hvoscope",
        "/usr/share/licenses/hvoscope-0.1.0/LICENSE": "/usr/share/doc/hvoscope/copyright",
    }
    ours = set()
    for line in out_of("rpm", "-qp", "--qf", "[%{FILEMODES:perms} %{FILENAMES}\n]", rpm).split(
        "\n"
    ):
        if line and line[0] != "d":
            name = line.partition(" ")[2]
            ours.add(theirs.get(name, name.replace("/usr/lib/systemd/", "/lib/systemd/")))
    # Which compression manual pages get is the builder's choice.
    ours, debian = ({name.removesuffix(".gz") for name in each} for each in (ours, debian))
    of_debian = {name for name in debian if "python3/runtime.d" in name or "changelog" in name}
    assert len(of_debian) == 2
    assert ours == debian - of_debian
    assert len(ours) > 200


@packaged
def test_requirements_are_those_of_the_project(rpm: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    required = out_of("rpm", "-qp", "--requires", rpm)
    python3dist = dict(re.findall(r"^\(python3dist\(([\w-]+)\) (>= [\d.]+) or ", required, re.M))
    wanted = map(Requirement, project["dependencies"])
    assert python3dist == {
        each.name.lower(): next(f">= {s.version}" for s in each.specifier if s.operator == ">=")
        for each in wanted
    }
    assert f"python3 {project['requires-python'].replace('>=', '>= ')}" in required.splitlines()
    assert out_of("rpm", "-qp", "--recommends", rpm).split() == ["kernel-devel", "python3-bcc"]
    assert "bcc" not in required  # not with --backend state, nor with compiled programs


@packaged
def test_options_are_read_from_sysconfig(root: Path) -> None:
    unit = (root / "usr/lib/systemd/system/hvoscope.service").read_text()
    assert "EnvironmentFile=-/etc/sysconfig/hvoscope\n" in unit
    assert "/etc/default" not in unit
    debian = (ROOT / "packaging/hvoscope.service").read_text()
    assert unit == debian.replace("/etc/default/", "/etc/sysconfig/")


@packaged
def test_the_rpm_names_neither_the_builder_nor_its_machine(rpm: Path, root: Path) -> None:
    shown = out_of("rpm", "-qp", "--qf", "%{BUILDHOST} %{PACKAGER} %{VENDOR}", rpm)
    assert shown == "localhost (none) (none)"
    found = subprocess.run(["grep", "-rlF", str(ROOT), root / "usr"], check=False, timeout=60)
    assert found.returncode == 1


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (
            "deb",
            "missing build tools: dpkg-buildpackage, dh, dh_python3: "
            "apt install debhelper dh-python dpkg-dev\n",
        ),
        ("rpm", "missing build tools: rpmbuild: apt install rpm (Fedora, SUSE: rpm-build)\n"),
    ],
)
def test_missing_build_tools_are_named_with_the_fix(
    kind: str, message: str, tmp_path: Path
) -> None:
    ran = subprocess.run(
        [sys.executable, ROOT / f"packaging/build_{kind}.py"],
        env={**os.environ, "PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (1, "", message)

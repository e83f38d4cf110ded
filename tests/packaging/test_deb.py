# SPDX-License-Identifier: Apache-2.0
"""The Debian package: built, checked by lintian, and used under a real systemd."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from exporter.cli.main import COMMANDS

pytestmark = pytest.mark.packaging

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
TOOLS = {
    "dpkg-buildpackage": "dpkg-dev",
    "dh": "debhelper",
    "dh_python3": "dh-python",
    "lintian": "lintian",
    "systemd-nspawn": "systemd-container",
    "man": "man-db",
}
NO_CAPABILITY = "0" * 16


@pytest.fixture(scope="module")
def package() -> Path:
    missing = [package for tool, package in TOOLS.items() if shutil.which(tool) is None]
    if missing or os.geteuid():
        pytest.skip(f"as root, with apt install {' '.join(missing or TOOLS.values())}")
    built = subprocess.run(
        [sys.executable, ROOT / "packaging/build_deb.py"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    return Path(built.stdout.strip())


@pytest.fixture(scope="module")
def notes(package: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    work, out = tmp_path_factory.mktemp("work"), tmp_path_factory.mktemp("out")
    boot = ("unshare", "--mount", "bash", HERE / "boot.sh", package, work, out, HERE)
    booted = subprocess.run(boot, capture_output=True, text=True, timeout=400, check=False)
    reported = [f"{path.name}:\n{path.read_text()}" for path in sorted(out.glob("[a-z]*[!n]"))]
    assert (out / "notes.json").exists(), "\n".join([booted.stderr, *reported])
    found: dict[str, Any] = json.loads((out / "notes.json").read_text())
    return found


def status(notes: dict[str, Any]) -> dict[str, str]:
    return dict(line.split(":\t", 1) for line in notes["status"].splitlines())


def test_lintian_finds_nothing(package: Path) -> None:
    lintian = ("lintian", "--allow-root", "--fail-on=warning,error", "--info", package)
    judged = subprocess.run(lintian, capture_output=True, text=True, timeout=120, check=False)
    assert (judged.returncode, judged.stdout) == (0, ""), judged.stderr


def test_no_files_that_conflict_with_other_packages(package: Path) -> None:
    listed = subprocess.run(
        ["dpkg-deb", "--contents", package], capture_output=True, text=True, check=True
    )
    files = [line.split()[5] for line in listed.stdout.splitlines() if line[0] != "d"]
    assert files
    assert [name for name in files if "hvoscope" not in name] == []
    assert not [name for name in files if "direct_url" in name or str(ROOT) in name]


def test_the_service_runs_without_privileges(notes: dict[str, Any]) -> None:
    assert notes["started"]["ActiveState"] == "active", notes["journal"]
    process = status(notes)
    for name in ("CapEff", "CapPrm", "CapInh", "CapAmb"):
        assert process[name] == NO_CAPABILITY
    assert process["NoNewPrivs"] == "1"
    assert "0" not in process["Uid"].split()


def test_a_scrape_through_the_socket(notes: dict[str, Any]) -> None:
    code, metrics = notes["metrics"]
    assert code == 200
    for part in ("probes", "pools", "switch", "memmap", "drift"):
        assert f'hvo_scrape_collector_success{{collector="{part}"}} 1.0' in metrics
    code, answer = notes["ready"]
    assert (code, answer) == (200, "ready\n") or answer.startswith("not ready: ")
    assert notes["started"]["StatusText"].partition(":")[0] == answer.strip().partition(":")[0]


def test_the_sandbox_allows_only_what_probes_need(notes: dict[str, Any]) -> None:
    assert notes["sandbox"] == {
        **dict.fromkeys(
            ("make_map", "load_kprobe", "open_perf_event", "read_addresses", "write_cache"), "ok"
        ),
        **dict.fromkeys(("write_sysctl",), "EROFS"),
        **dict.fromkeys(("see_homes",), "EACCES"),
        **dict.fromkeys(("connect",), "EAFNOSUPPORT"),
        **dict.fromkeys(("make_code", "reboot"), "EPERM"),
        "started": {"code": 0, "out": "", "err": ""},
    }


def test_the_command_line_with_debians_libraries(notes: dict[str, Any]) -> None:
    assert notes["version"]["out"].startswith("hvoscope, version ")
    metrics = {
        (m["name"], m["labels"].get("numa_node")): m["value"]
        for m in json.loads(notes["simulate"]["out"])["metrics"]
        if m["labels"].get("size", "2MB") == "2MB"
    }
    assert metrics["hvo_ptes_remapped_total", "0"] == 23 * 8
    assert notes["bad"]["code"] == 2
    assert notes["bad"]["err"].count("\n") == 1


def test_debians_versions_are_within_the_projects_ranges(notes: dict[str, Any]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for requirement in map(Requirement, project["dependencies"]):
        found = notes["versions"].get(requirement.name.lower())
        assert found, requirement
        assert requirement.specifier.contains(found), (requirement, found)


def test_manual_pages_and_completion_are_installed(notes: dict[str, Any]) -> None:
    commands = {f"hvoscope-{name}.1.gz" for name in COMMANDS}
    assert set(notes["pages"]) == {"hvoscope.1.gz"} | commands
    for name, page in notes["pages"].items():
        assert (page["code"], page["err"]) == (0, ""), name
    assert "--web.systemd-socket" in notes["pages"]["hvoscope-serve.1.gz"]["out"]
    assert notes["complete"]["out"].startswith("complete ")
    assert notes["verify"] == {"code": 0, "out": "", "err": ""}


def test_the_service_restarts_when_killed_and_on_a_scrape(notes: dict[str, Any]) -> None:
    assert notes["restarted"]["ActiveState"] == "active"
    assert notes["restarted"]["MainPID"] != notes["started"]["MainPID"]
    assert notes["reloaded"]["MainPID"] == notes["restarted"]["MainPID"]
    assert notes["reloaded"]["ActiveState"] == "active"
    assert "INFO SIGHUP" in notes["journal"]
    assert (notes["stopped"]["ActiveState"], notes["stopped"]["Result"]) == ("inactive", "success")
    assert (notes["by_socket"], notes["by_socket_state"]["ActiveState"]) == (200, "active")
    assert "Traceback" not in notes["journal"]


def test_purge_removes_all_files(notes: dict[str, Any]) -> None:
    assert notes["purged"]["code"] == 0, notes["purged"]["err"]
    assert notes["left"] == []

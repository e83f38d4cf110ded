# SPDX-License-Identifier: Apache-2.0
"""Both packages: built, checked, and used under a real systemd in a container of Debian."""

import json
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from exporter.cli.main import COMMANDS
from tests.packaging.packages import SHARED

pytestmark = pytest.mark.packaging

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
NO_CAPABILITY = "0" * 16


@pytest.fixture(scope="module")
def notes(package: Path, rpm: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    work, out = tmp_path_factory.mktemp("work"), tmp_path_factory.mktemp("out")
    boot = ("unshare", "--mount", "bash", HERE / "boot.sh", package, rpm, work, out, HERE)
    booted = subprocess.run(boot, capture_output=True, text=True, timeout=580, check=False)
    reported = [f"{path.name}:\n{path.read_text()}" for path in sorted(out.glob("[a-z]*[!n]"))]
    assert (out / "notes.json").exists(), "\n".join([booted.stderr, *reported])
    found: dict[str, Any] = json.loads((out / "notes.json").read_text())
    return found


def may_lower_oom_score() -> bool:
    """Whether root may do so here, which takes CAP_SYS_RESOURCE; tried in a process of its own."""
    command = ("sh", "-c", "echo -500 >/proc/self/oom_score_adj")
    return subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode == 0


def status(notes: dict[str, Any]) -> dict[str, str]:
    return dict(line.split(":\t", 1) for line in notes["status"].splitlines())


def test_lintian_finds_nothing(package: Path) -> None:
    lintian = ("lintian", "--allow-root", "--fail-on=warning,error", "--info", package)
    judged = subprocess.run(lintian, capture_output=True, text=True, timeout=300, check=False)
    assert (judged.returncode, judged.stdout) == (0, ""), judged.stderr


def test_no_files_that_conflict_with_other_packages(package: Path) -> None:
    listed = subprocess.run(
        ["dpkg-deb", "--contents", package], capture_output=True, text=True, check=True
    )
    files = [line.split()[5] for line in listed.stdout.splitlines() if line[0] != "d"]
    assert files
    assert [name for name in files if "hvoscope" not in name] == []
    assert not [name for name in files if "direct_url" in name or str(ROOT) in name]


def test_files_for_prometheus_and_grafana_are_installed(package: Path, tmp_path: Path) -> None:
    subprocess.run(["dpkg-deb", "--extract", package, tmp_path], check=True)
    share = tmp_path / "usr/share/hvoscope"
    for folder, pattern in SHARED.items():
        for source in ROOT.glob(pattern):
            installed = (share / folder / source.name).read_text()
            assert (
                installed.replace("../../doc/hvoscope/docs/", "../../docs/") == source.read_text()
            )
    rules = {path.name for path in (share / "rules").iterdir()}
    assert rules == {"alerts.yml", "recording.yml"}
    assert len(list((share / "dashboards").iterdir())) == 3
    for page in (share / "runbooks").iterdir():
        for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / link).exists(), (page.name, link)


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
        **dict.fromkeys(("see_homes", "be_spared_by_the_oom_killer"), "EACCES"),
        **dict.fromkeys(("connect",), "EAFNOSUPPORT"),
        **dict.fromkeys(("make_code", "reboot"), "EPERM"),
        "started": {"code": 0, "out": "", "err": ""},
    }


def test_memory_is_limited_and_the_daemon_is_killed_late(notes: dict[str, Any]) -> None:
    expected = {f"MemoryMax={1 << 30}", "OOMPolicy=continue", "OOMScoreAdjust=-500"}
    assert set(notes["memory"]["out"].split()) == expected
    # systemd goes on without where a container of this machine must not lower the score.
    assert int(notes["oom_score_adj"]) == (-500 if may_lower_oom_score() else 0)


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


def test_the_rpm_serves_under_systemd_and_leaves_nothing(notes: dict[str, Any]) -> None:
    rpm = notes["rpm"]
    assert (rpm["installed"]["code"], rpm["installed"]["out"]) == (0, "")
    # Debian has no presets, which means: enable everything. It shows that the scripts ran.
    links = [line for line in rpm["installed"]["err"].splitlines() if "Created symlink" in line]
    assert links == rpm["installed"]["err"].splitlines()
    assert len(links) == 2
    assert rpm["enabled"]["code"] == 0, rpm["enabled"]["err"]
    assert rpm["started"]["ActiveState"] == "active", rpm["journal"]
    code, metrics = rpm["metrics"]
    assert code == 200
    assert 'hvo_scrape_collector_success{collector="pools"} 1.0' in metrics
    assert rpm["ready"] == [200, "ready\n"]  # --backend state, from /etc/sysconfig/hvoscope
    changed = [line.split()[-1] for line in rpm["verified"]["out"].splitlines()]
    assert changed == ["/etc/sysconfig/hvoscope"]
    assert rpm["removed"]["code"] == 0, rpm["removed"]["err"]
    assert rpm["stopped"]["ActiveState"] == "inactive"
    assert rpm["left"] == ["/etc/sysconfig/hvoscope.rpmsave"]

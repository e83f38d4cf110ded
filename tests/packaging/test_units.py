# SPDX-License-Identifier: Apache-2.0
"""The unit files, checked by systemd's tools; nothing is installed or started."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import click

from exporter.cli.main import cli
from tests.tools import need

PACKAGING = Path(__file__).parents[2] / "packaging"
SERVICE = PACKAGING / "hvoscope.service"
MAX_EXPOSURE = 2.0


def systemd_analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    tool = need("systemd-analyze", "systemd")
    return subprocess.run(
        [tool, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False
    )


def exec_start() -> list[str]:
    (line,) = re.findall(r"^ExecStart=(.*)$", SERVICE.read_text(), re.MULTILINE)
    return shlex.split(line)


def test_systemd_analyze_verify_finds_nothing(tmp_path: Path) -> None:
    """Use an existing program, since the package's is not installed."""
    program = exec_start()[0]
    for unit in ("hvoscope.service", "hvoscope.socket"):
        text = (PACKAGING / unit).read_text().replace(program, sys.executable)
        (tmp_path / unit).write_text(text)
    verified = systemd_analyze("verify", "--man=no", *sorted(tmp_path.iterdir()))
    assert (verified.returncode, verified.stdout, verified.stderr) == (0, "", "")


def test_systemd_analyze_verify_finds_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "hvoscope.service").write_text(f"[Service]\nExecStart={sys.executable}\nUmaks=1\n")
    assert "Umaks" in systemd_analyze("verify", "--man=no", tmp_path / "hvoscope.service").stderr


def test_the_exposure_level_is_low() -> None:
    judged = systemd_analyze("security", "--offline=true", "--no-pager", SERVICE)
    level = re.search(r"Overall exposure level for hvoscope.service: (\d+\.\d+)", judged.stdout)
    assert level, judged.stdout + judged.stderr
    assert float(level[1]) <= MAX_EXPOSURE


def test_the_service_uses_existing_options() -> None:
    _, verb, *options = exec_start()
    assert options.pop() == "$ARGS"
    command = cli.get_command(click.Context(cli), verb)
    assert command
    with click.Context(command) as context:
        command.parse_args(context, options)
    assert context.params["from_systemd"]

# SPDX-License-Identifier: Apache-2.0
"""``hvoscope compile`` where it is impossible; real programs are compiled in guests."""

import subprocess
from pathlib import Path

from tests.exporter.cli.test_cli import HVOSCOPE
from tests.probes.preflight_host import machine


def test_without_headers_it_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    host = machine(tmp_path, {})
    paths = ("--path.procfs", str(host.proc), "--path.sysfs", str(host.sys))
    done = subprocess.run(
        [*HVOSCOPE, "compile", str(tmp_path / "programs"), *paths],
        env={"BCC_KERNEL_SOURCE": str(tmp_path / "nowhere"), "PATH": "/usr/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("hvoscope: error: no kernel headers: BCC_KERNEL_SOURCE=")
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "programs").exists()

# SPDX-License-Identifier: Apache-2.0
"""The programs that compile the module run with libraries that are not the host's own."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.guests.fail_frames import wrap

HOSTS = Path("/usr/lib/x86_64-linux-gnu")


@pytest.fixture
def libraries(tmp_path: Path) -> Path:
    """As unpacked packages lie; here they are the host's own."""
    (tmp_path / "libraries/usr/lib").mkdir(parents=True)
    (tmp_path / "libraries/usr/lib/x86_64-linux-gnu").symlink_to(HOSTS)
    return tmp_path / "libraries"


def program(path: Path, like: str) -> Path:
    """A copy of one of the host's programs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(str(shutil.which(like)), path)
    return path


def code(path: Path, *arguments: str) -> int:
    return subprocess.run([path, *arguments], capture_output=True, check=False).returncode


def test_a_program_runs_by_the_given_loader(tmp_path: Path, libraries: Path) -> None:
    expr = program(tmp_path / "tree/tools/objtool/expr", "expr")
    wrap(tmp_path / "tree", libraries)
    assert f"{libraries}/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2" in expr.read_text()
    assert code(expr, "1 2", "=", "1 2") == 0
    assert code(expr, "1 2", "=", "1") == 1


@pytest.mark.parametrize("suffix", [".real-lsb-64", ".real-x86"])
def test_of_several_the_one_for_this_machine_runs(
    tmp_path: Path, libraries: Path, suffix: str
) -> None:
    chooses = program(tmp_path / "tree/scripts/mod/modpost", "false")
    program(tmp_path / f"tree/scripts/mod/modpost{suffix}", "true")
    program(tmp_path / "tree/scripts/mod/modpost.real-msb-32", "false")
    wrap(tmp_path / "tree", libraries)
    assert code(chooses) == 0


def test_what_is_no_program_stays(tmp_path: Path, libraries: Path) -> None:
    script = tmp_path / "tree/scripts/depmod.sh"
    script.parent.mkdir(parents=True)
    script.write_text("#!/bin/sh\nexit 3\n")
    (tmp_path / "tree/tools").mkdir()
    wrap(tmp_path / "tree", libraries)
    assert script.read_text() == "#!/bin/sh\nexit 3\n"

# SPDX-License-Identifier: Apache-2.0
"""Run in a child, since an import can't be undone: what a fresh interpreter finds."""

import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[3]


def import_bcc(distro: Path, *path: Path) -> str:
    code = (
        "import sys; from pathlib import Path\n"
        f"sys.path[:0] = {[str(REPOSITORY), *map(str, path)]!r}\n"
        "from probes.live.bcc_import import BccMissingError, find_bcc, import_bcc\n"
        f"distro = Path({str(distro)!r})\n"
        "print(find_bcc(distro))\n"
        "try: print(import_bcc(distro).BPF)\n"
        "except BccMissingError as error: print('missing:', error)\n"
        "print('bcc' in sys.modules, any('dist' == Path(p).name for p in sys.path))\n"
    )
    # -S -I: no site-packages, no environment: only what the test lays out.
    ran = subprocess.run(
        [sys.executable, "-S", "-I", "-c", code], capture_output=True, text=True, check=True
    )
    return ran.stdout


def package(folder: Path, text: str, *modules: str) -> Path:
    (folder / "bcc").mkdir(parents=True)
    (folder / "bcc/__init__.py").write_text(text)
    for module in modules:
        (folder / f"bcc/{module}.py").write_text("")
    return folder


def test_the_distributions_package_is_found_and_nothing_else_let_in(tmp_path: Path) -> None:
    distro = package(tmp_path / "dist", "from . import table\nBPF = 'the real one'", "table")
    assert import_bcc(distro) == "True\nthe real one\nTrue False\n"


def test_the_lattice_library_is_not_taken_for_bcc(tmp_path: Path) -> None:
    lattice = package(tmp_path / "site", "class BCC: pass")
    distro = package(tmp_path / "dist", "BPF = 'the real one'")
    assert import_bcc(distro, lattice) == "True\nthe real one\nTrue False\n"


def test_the_lattice_library_alone_is_no_bcc(tmp_path: Path) -> None:
    lattice = package(tmp_path / "site", "class BCC: pass")
    found, error, leftovers, _ = import_bcc(tmp_path / "dist", lattice).split("\n")
    assert found == "False"
    assert error.startswith("missing: BCC is not installed: install your distribution's package")
    assert "apt install python3-bpfcc" in error
    assert leftovers == "False False"


def test_a_bcc_on_the_path_is_taken_as_it_is(tmp_path: Path) -> None:
    site = package(tmp_path / "site", "BPF = 'on the path'", "libbcc")
    assert import_bcc(tmp_path / "dist", site) == "True\non the path\nTrue False\n"


def test_a_package_without_its_library_is_broken(tmp_path: Path) -> None:
    distro = package(tmp_path / "dist", "raise OSError('libbcc.so.0: cannot open')")
    _, error, leftovers, _ = import_bcc(distro).split("\n")
    assert "is broken (libbcc.so.0: cannot open)" in error
    assert "apt install python3-bpfcc" in error
    assert leftovers == "False False"

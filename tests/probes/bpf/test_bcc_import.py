# SPDX-License-Identifier: Apache-2.0
"""Imports of BCC in fresh interpreters, because an import can't be undone."""

import subprocess
import sys
from pathlib import Path

import pytest

from probes.bpf.bcc_import import distro_folders

REPOSITORY = Path(__file__).parents[3]


def import_bcc(distro: Path, *path: Path) -> str:
    code = (
        "import sys; from pathlib import Path\n"
        f"sys.path[:0] = {[str(REPOSITORY), *map(str, path)]!r}\n"
        "from probes.bpf.bcc_import import BccMissingError, find_bcc, import_bcc\n"
        f"distro = Path({str(distro)!r})\n"
        "print(find_bcc(distro))\n"
        "try: print(import_bcc(distro, Path('/no/etc/os-release')).BPF)\n"
        "except BccMissingError as error: print('missing:', error)\n"
        "print('bcc' in sys.modules, any('dist' == Path(p).name for p in sys.path))\n"
    )
    # -S -I: no site-packages and no environment, only the packages of the test.
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


def test_only_bcc_is_imported_from_the_distributions_packages(tmp_path: Path) -> None:
    distro = package(tmp_path / "dist", "from . import table\nBPF = 'the real one'", "table")
    assert import_bcc(distro) == "True\nthe real one\nTrue False\n"


def test_the_lattice_library_is_not_imported_as_bcc(tmp_path: Path) -> None:
    lattice = package(tmp_path / "site", "class BCC: pass")
    distro = package(tmp_path / "dist", "BPF = 'the real one'")
    assert import_bcc(distro, lattice) == "True\nthe real one\nTrue False\n"


def test_the_lattice_library_alone_means_bcc_is_missing(tmp_path: Path) -> None:
    lattice = package(tmp_path / "site", "class BCC: pass")
    found, error, leftovers, _ = import_bcc(tmp_path / "dist", lattice).split("\n")
    assert found == "False"
    assert error.startswith("missing: BCC is not installed: apt install python3-bpfcc (Fedora: ")
    assert error.endswith("(the Python package index does not have it)")
    assert leftovers == "False False"


def test_bcc_on_the_path_is_imported(tmp_path: Path) -> None:
    site = package(tmp_path / "site", "BPF = 'on the path'", "libbcc")
    assert import_bcc(tmp_path / "dist", site) == "True\non the path\nTrue False\n"


def test_a_package_without_libbcc_is_reported_as_broken(tmp_path: Path) -> None:
    distro = package(tmp_path / "dist", "raise OSError('libbcc.so.0: cannot open')")
    _, error, leftovers, _ = import_bcc(distro).split("\n")
    assert "is broken (libbcc.so.0: cannot open)" in error
    assert "apt install python3-bpfcc" in error
    assert leftovers == "False False"


BROKEN = {
    "raise OSError('libbcc.so.0: cannot open')": "(libbcc.so.0: cannot open)",
    "import ctypes; ctypes.CDLL('libc.so.6').bpf_missing_function": (
        ": its Python code and libbcc.so.0 are of different versions ("
    ),
    "import ctypes; ctypes.CDLL('libbcc.so.missing')": "(libbcc.so.missing: cannot open ",
    "print 'Python 2'": "(SyntaxError: Missing parentheses in call to 'print'",
    "from . import libbcc": "(cannot import name 'libbcc' from 'bcc' (",
    "import missing_module": "(No module named 'missing_module')",
    "from collections import Mapping": "(cannot import name 'Mapping' from 'collections'",
    "import os; os.missing_attribute": "(AttributeError: module 'os' has no attribute 'missing_",
    "raise TypeError('on\\ntwo lines')": "(TypeError: on two lines)",
    "raise Exception": "(Exception: Exception)",
    "raise SystemExit(3)": "(SystemExit: 3)",
    "import sys; sys.exit('no kernel')": "(SystemExit: no kernel)",
    "class BPF2: pass": " is not BCC, but another project (it has no BPF)",
}


@pytest.mark.parametrize(
    ("text", "message", "on_path"),
    [
        (text, message, on_path)
        for text, message in BROKEN.items()
        for on_path in (False, True)
        if not (on_path and "import libbcc" in text)  # the module exists there
    ],
)
def test_every_import_failure_is_reported_in_one_line(
    tmp_path: Path, text: str, message: str, on_path: bool
) -> None:
    folder = package(tmp_path / "dist", text, *(["libbcc"] if on_path else []))
    found = import_bcc(tmp_path / "nowhere", folder) if on_path else import_bcc(folder)
    there, error, leftovers, _ = found.split("\n")
    assert there == "True"
    assert error.startswith("missing: ")
    assert message in error
    assert ": apt install python3-bpfcc (Fedora: " in error
    assert leftovers.startswith("False ")


def test_a_broken_bcc_on_the_path_does_not_hide_the_distributions_package(tmp_path: Path) -> None:
    broken = package(tmp_path / "site", "raise AttributeError('undefined symbol: x')", "libbcc")
    distro = package(tmp_path / "dist", "BPF = 'the real one'")
    assert import_bcc(distro, broken) == "True\nthe real one\nTrue False\n"


@pytest.mark.parametrize(
    "folder",
    [
        "usr/lib/python3/dist-packages",  # Debian, Ubuntu
        "usr/lib/python3.9/site-packages",  # RHEL 9
        "usr/lib/python3.13/site-packages",  # Fedora, Arch, openSUSE, Alpine
        "usr/lib64/python3.6/site-packages",
    ],
)
def test_package_folders_of_every_distribution_are_found(tmp_path: Path, folder: str) -> None:
    package(tmp_path / folder, "")
    assert distro_folders(tmp_path) == (tmp_path / folder,)


def test_folders_of_the_running_python_come_first_then_the_newest(tmp_path: Path) -> None:
    own = f"usr/lib/python3.{sys.version_info.minor}/site-packages"
    expected = [own, "usr/lib/python3.99/site-packages", "usr/lib/python3.6/site-packages"]
    others = ["usr/lib/python2.7/site-packages", "usr/lib/python3.9/lib-packages", "usr/lib/x"]
    for folder in (*expected, *others):
        (tmp_path / folder).mkdir(parents=True)
    assert distro_folders(tmp_path) == tuple(tmp_path / folder for folder in expected)
    assert distro_folders(tmp_path / "nowhere") == ()

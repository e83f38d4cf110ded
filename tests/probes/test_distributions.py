# SPDX-License-Identifier: Apache-2.0
"""BCC, headers and configuration are found in the trees of ``distributions.py``, or named right."""

import subprocess
import sys
from pathlib import Path

import pytest

from probes.bpf.bcc_import import bcc_version, distro_folders, find_bcc
from probes.preflight import Finding, Verdict
from probes.preflight.attach import bcc, btf
from probes.preflight.facts import Facts
from probes.preflight.headers import headers
from probes.preflight.kernel import config
from tests.probes.distributions import DISTRIBUTIONS, KCONFIG, Distribution

REPOSITORY = Path(__file__).parents[2]

each = pytest.mark.parametrize("of", DISTRIBUTIONS.values(), ids=list(DISTRIBUTIONS))


def with_bcc(root: Path) -> Path:
    """The first folder with a package named bcc, in the order in which the loader looks."""
    return next(folder for folder in distro_folders(root) if find_bcc(folder))


def facts(of: Distribution, root: Path, *, bcc: bool = True, headers: bool = True) -> Facts:
    host = of.lay_out(root, bcc=bcc, headers=headers)
    folder = with_bcc(root) if bcc else root / of.python
    return Facts(host, folder, environ={"TMPDIR": str(root)})


@each
def test_bcc_is_found_whatever_python_it_was_built_for(of: Distribution, tmp_path: Path) -> None:
    of.lay_out(tmp_path)
    folder = with_bcc(tmp_path)
    assert (folder, bcc_version(folder)) == (tmp_path / of.python, of.bcc_version)
    code = (
        f"import sys; sys.path.insert(0, {str(REPOSITORY)!r}); from pathlib import Path\n"
        "from probes.bpf.bcc_import import import_bcc\n"
        f"module = import_bcc(Path({str(folder)!r}))\n"
        "print(module.__file__, module.lib.getpid() > 0, 'bcc.table' in sys.modules)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-S", "-I", "-c", code], capture_output=True, text=True, check=True
    )
    assert ran.stdout == f"{folder}/bcc/__init__.py True False\n"


@each
def test_headers_of_the_running_kernel_are_found(of: Distribution, tmp_path: Path) -> None:
    found = headers(facts(of, tmp_path))
    assert found.verdict is Verdict.OK
    assert (Path(found.what) / KCONFIG).samefile(tmp_path / of.source / KCONFIG)


@each
def test_missing_headers_name_the_distributions_package(of: Distribution, tmp_path: Path) -> None:
    """Links to them may be left: they belong to the kernel's package, or to a removed one."""
    here = facts(of, tmp_path, headers=False)
    what = headers(here).what
    assert headers(here) == Finding("headers", Verdict.PROBLEM, what, of.install_headers)
    assert what.startswith(f"no kernel headers for {of.release}")
    assert btf(here).fix == f"use a kernel with CONFIG_DEBUG_INFO_BTF, or {of.install_headers}"


@each
def test_headers_of_another_kernel_do_not_count(of: Distribution, tmp_path: Path) -> None:
    here = facts(of, tmp_path, headers=False)
    other = tmp_path / "usr/lib/modules/9.9.9/build" / KCONFIG
    other.parent.mkdir(parents=True)
    other.touch()
    assert headers(here).verdict is Verdict.PROBLEM


@each
def test_missing_bcc_names_the_distributions_package(of: Distribution, tmp_path: Path) -> None:
    fix = f"{of.install_bcc}; never from pip"
    found = bcc(facts(of, tmp_path, bcc=False))
    assert found == Finding("bcc", Verdict.PROBLEM, "BCC is not installed", fix)


@each
def test_the_kernels_configuration_is_found(of: Distribution, tmp_path: Path) -> None:
    found = config(facts(of, tmp_path))
    assert found == Finding("config", Verdict.OK, f"{tmp_path}/{_seen(of)} has all needed options")


def _seen(of: Distribution) -> str:
    return of.config.removeprefix("usr/")

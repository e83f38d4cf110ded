# SPDX-License-Identifier: Apache-2.0
"""Put faults into modules, one at a time: ``python -m tests.mutants [MODULE[:FUNCTION]]...``.

``MODULE`` and ``FUNCTION`` may have ``*``; a function is as the report names it
(``Reducer.add*``). Survivors are printed with what they change, and a line for the table of
docs/mutants.md for each module. pytest's own words go to mutants/pytest.log.
"""

import os
import sys
from fnmatch import fnmatch
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.mutants.mutated import Finder
from tests.mutants.trial import Trial

SUBJECTS = (
    *("probes/baseline.py", "probes/counters.py", "probes/drift.py", "probes/preflight/*.py"),
    *("sim_backend/kernel/hugetlb*.py", "sim_backend/kernel/vmemmap_*.py"),
    *("sim_backend/kernel/sparse_vmemmap.py", "sim_backend/kernel/populate.py"),
    "sim_backend/kernel/release.py",
)
TESTS = {
    "probes.preflight": "tests/probes/preflight",
    "probes": "tests/probes/test_{}.py",
    "sim_backend.kernel": "tests/sim_backend/kernel",
}
"""The tests of a package's modules."""
LOG = Path("mutants/pytest.log")


def modules() -> list[str]:
    paths = (path for pattern in SUBJECTS for path in sorted(Path().glob(pattern)))
    names = (".".join(path.with_suffix("").parts) for path in paths)
    return [name.removesuffix(".__init__") for name in names]


def package_of(module: str) -> str:
    return module if module in TESTS else module.rpartition(".")[0]


def run(package: str, chosen: list[str], wanted: str) -> int:
    """Try the mutants of modules of one package; return how many survived."""
    report = os.fdopen(os.dup(1), "w", buffering=1)
    LOG.parent.mkdir(exist_ok=True)
    with LOG.open("w") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    finder = Finder(chosen)
    finder.install()
    trial = Trial(finder, wanted, lambda text: print(text, file=report))
    tests = dict.fromkeys(TESTS[package].format(name.rpartition(".")[2]) for name in chosen)
    options = ["-q", "-n0", "-pno:cacheprovider", "--timeout=120", "--tb=short"]
    options += ["-o", "tmp_path_retention_policy=none", "-m", "not soak"]
    with TemporaryDirectory() as folder:  # of this run: pytest removes the oldest of its own
        pytest.main([*options, f"--basetemp={folder}/tests", *tests], plugins=[trial])
    if trial.failed:
        print(f"these fail without any mutant (see {LOG}): {trial.failed}", file=report)
        return 1
    return sum(len(score.survived) for score in trial.scores.values())


def main() -> int:
    survived = 0
    for argument in sys.argv[1:] or ["*"]:
        pattern, _, wanted = argument.partition(":")
        chosen = [name for name in modules() if fnmatch(name, pattern)]
        if not chosen:
            sys.exit(f"no module of tests/mutants/__main__.py is called {pattern}")
        for package in dict.fromkeys(map(package_of, chosen)):
            child = os.fork()  # a module is imported once: with mutants or without
            if not child:
                mine = [name for name in chosen if package_of(name) == package]
                os._exit(min(run(package, mine, f"{wanted or '*'}*"), 255))
            survived += os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return min(survived, 1)


if __name__ == "__main__":
    sys.exit(main())

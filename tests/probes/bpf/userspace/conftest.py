# SPDX-License-Identifier: Apache-2.0
import os

import pytest

from tests.probes.bpf.userspace.library import Compiler
from tests.probes.bpf.userspace.recorder import Arena
from tests.probes.bpf.userspace.run import Lab


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """Shared by all tests, so that each source is compiled once."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    folder /= "bpf"
    folder.mkdir(exist_ok=True)
    return Lab(Compiler(folder), Arena())

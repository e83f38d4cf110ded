# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from tests.packaging.packages import build


@pytest.fixture(scope="session")
def package() -> Path:
    """The Debian package."""
    return build("deb")


@pytest.fixture(scope="session")
def rpm() -> Path:
    """The RPM package."""
    return build("rpm")

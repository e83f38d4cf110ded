# SPDX-License-Identifier: Apache-2.0
"""A kernel with the first HVO's function names, built from Debian's 6.1 source."""

from __future__ import annotations

from tests.guests.apt import Suite
from tests.guests.built import Recipe
from tests.guests.patched_edits import EDITS

# The package moves on with 6.1.y; the edits must fit it.
RECIPE = Recipe(Suite("bookworm"), "linux-source-6.1", EDITS)

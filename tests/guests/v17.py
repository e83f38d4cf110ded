# SPDX-License-Identifier: Apache-2.0
"""A kernel with patch v17 3/9 as it was mailed, built from Debian's 5.10 source."""

from __future__ import annotations

from tests.guests.apt import Suite
from tests.guests.built import Recipe
from tests.guests.v17_edits import EDITS, FILES

# The package moves on with 5.10.y; the mail's lines must fit it.
RECIPE = Recipe(Suite("bullseye"), "linux-source-5.10", EDITS, FILES)

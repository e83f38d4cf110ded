# SPDX-License-Identifier: Apache-2.0
"""Debian's newest 6.12 with a small configuration, as it is, and with its restore corrected.

Both are made in one go: the second compiles one file.
"""

from __future__ import annotations

from tests.guests.apt import Suite
from tests.guests.built import Recipe, Variant
from tests.guests.restore_leak_edits import EDITS

# The package moves on with 6.12.y; the edits must fit it.
RECIPE = Recipe(Suite("trixie"), "linux-source-6.12", (), variants={"fixed": EDITS})
FIXED = Variant(RECIPE, "restore-leak", "fixed")

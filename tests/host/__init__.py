# SPDX-License-Identifier: Apache-2.0
"""Tests that change the machine they run on, and put it back (make test-host, as root)."""

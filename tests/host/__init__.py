# SPDX-License-Identifier: Apache-2.0
"""Tests that change this machine's huge pages and restore them (make test-host, as root)."""

# SPDX-License-Identifier: GPL-2.0-only
"""The BPF program and the event record's C header, as package data."""

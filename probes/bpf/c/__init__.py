# SPDX-License-Identifier: GPL-2.0-only
"""C sources of the BPF program and of the event record, as package data."""

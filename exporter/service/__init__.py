# SPDX-License-Identifier: Apache-2.0
"""The daemon: its life cycle, privileges, memory, and the service manager."""

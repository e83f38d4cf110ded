# SPDX-License-Identifier: Apache-2.0
"""The daemon: life cycle, privileges, memory, service manager."""

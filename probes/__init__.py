# SPDX-License-Identifier: Apache-2.0
"""The contract (events, counters, geometry, backend), the kernel probes and the kernel's state."""

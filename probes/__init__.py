# SPDX-License-Identifier: Apache-2.0
"""The backend contract, the kernel probes, and the readers of the kernel's own state."""

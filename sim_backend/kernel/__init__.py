# SPDX-License-Identifier: Apache-2.0
"""A simulated kernel, whose functions bear the kernel's names."""

# SPDX-License-Identifier: Apache-2.0
"""``hvoscope verify``: a known workload, and every account of the kernel held against it."""

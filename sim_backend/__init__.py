# SPDX-License-Identifier: Apache-2.0
"""A simulated Linux kernel that does HugeTLB Vmemmap Optimisation, and the backend around it."""

# SPDX-License-Identifier: Apache-2.0
"""Readers of a kernel's files, without BPF: symbols, BTF, pools, memmap, and hook selection."""

# SPDX-License-Identifier: Apache-2.0
"""What can be read of a kernel without BPF: symbols, BTF, pools, memmap, hooks."""

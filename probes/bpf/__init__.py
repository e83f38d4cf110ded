# SPDX-License-Identifier: Apache-2.0
"""The BPF program: composed for a kernel, compiled, loaded, attached, read."""

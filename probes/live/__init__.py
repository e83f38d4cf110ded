# SPDX-License-Identifier: Apache-2.0
"""The live backend: everything that touches a running kernel through BPF."""

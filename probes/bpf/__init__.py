# SPDX-License-Identifier: Apache-2.0
"""The BPF program: source generation, compilation, loading, attaching, reading."""

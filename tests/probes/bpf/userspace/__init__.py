# SPDX-License-Identifier: Apache-2.0
"""Tests of the BPF program, compiled for user space and fed with calls of a simulated kernel."""

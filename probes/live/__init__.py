# SPDX-License-Identifier: Apache-2.0
"""The live backend: observes the running kernel through BPF."""

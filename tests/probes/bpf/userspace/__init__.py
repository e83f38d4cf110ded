# SPDX-License-Identifier: Apache-2.0
"""The BPF program compiled for user space, and run on calls that a simulated kernel makes."""

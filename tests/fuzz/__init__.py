# SPDX-License-Identifier: Apache-2.0
"""Fuzzing with coverage feedback: atheris (libFuzzer for Python) and the oracles of tests/soak."""

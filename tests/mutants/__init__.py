# SPDX-License-Identifier: Apache-2.0
"""Mutation runs (``make mutants``): mutmut makes the mutants, one process of pytest tries them all.

mutmut's own runner starts pytest for every mutant and runs its tests in no order. Here they are
collected once, each mutant is a fork of that process, and the quickest test comes first: hundreds
of mutants a minute instead of a few.
"""

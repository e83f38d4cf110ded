# SPDX-License-Identifier: Apache-2.0
"""The language of scenarios: files of timed operations and faults."""

# SPDX-License-Identifier: Apache-2.0
"""What hvoscope costs and how fast it is, beside what a user would pick instead."""

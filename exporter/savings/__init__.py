# SPDX-License-Identifier: Apache-2.0
"""``hvoscope plan``: what HVO will save, what it costs, how to switch it on.

The arithmetic is ``exporter.savings.forecast``; here it gets its words.
"""

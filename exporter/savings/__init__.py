# SPDX-License-Identifier: Apache-2.0
"""``hvoscope plan``: what HVO will save, what it costs, how to enable it.

``forecast`` has the arithmetic; the other modules read the machine and format the result.
"""

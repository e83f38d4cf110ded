# SPDX-License-Identifier: Apache-2.0
"""``hvoscope top``: a live screen. Only ``screen`` and ``session`` depend on a terminal."""

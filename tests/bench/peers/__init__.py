# SPDX-License-Identifier: Apache-2.0
"""What a user would pick instead, or would write first: measured beside hvoscope."""

# SPDX-License-Identifier: Apache-2.0
"""Programs that run inside guests, by the distribution's Python, which has BCC."""

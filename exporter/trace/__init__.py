# SPDX-License-Identifier: Apache-2.0
"""Events as lines, and which of them are selected."""

# SPDX-License-Identifier: Apache-2.0
"""Selection of events, and their output as lines."""

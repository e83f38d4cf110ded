# SPDX-License-Identifier: Apache-2.0
"""The metric catalogue, and the conversion of observations into metric families."""

# SPDX-License-Identifier: Apache-2.0
"""The metric catalogue, and an observation as metric families."""

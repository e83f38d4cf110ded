# SPDX-License-Identifier: Apache-2.0
"""The dashboards as code: panels, columns, variables, queries."""

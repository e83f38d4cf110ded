# SPDX-License-Identifier: Apache-2.0
"""Dashboards drawn with Grafana's own libraries: a page, who serves it, and pictures of it."""

# SPDX-License-Identifier: Apache-2.0
"""Render dashboards with Grafana's own libraries: a page, its server, and screenshots."""

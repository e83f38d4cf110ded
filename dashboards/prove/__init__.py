# SPDX-License-Identifier: Apache-2.0
"""Queries run on a real Prometheus, and their answers held against what is known to be true.

This room runs the exporter on simulated machines; nothing else in ``dashboards`` does.
"""

# SPDX-License-Identifier: Apache-2.0
"""Run every query on a real Prometheus and compare the results with known values.

Only this package of ``dashboards`` runs the exporter, on simulated machines.
"""

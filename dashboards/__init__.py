# SPDX-License-Identifier: Apache-2.0
"""Dashboards as code, recording and alerting rules, runbooks, and their tests on Prometheus."""

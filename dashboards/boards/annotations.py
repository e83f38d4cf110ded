# SPDX-License-Identifier: Apache-2.0
"""Annotations: moments at which something other than the load changed."""

from collections.abc import Sequence

from grafana_foundation_sdk.builders.dashboard import AnnotationQuery

from dashboards.boards.variables import DATASOURCE, HOSTS, JOBS

_STEP = "$__rate_interval"


def of_hosts() -> Sequence[AnnotationQuery]:
    """Annotations of the chosen hosts: HVO switched, kernel changed, exporter restarted."""
    return (
        _note("HVO switched", f"changes(hvo_enabled{{{HOSTS}}}[{_STEP}]) > 0", "orange"),
        _note(
            "Kernel changed",
            f"hvo_backend_info{{{HOSTS}}} unless hvo_backend_info{{{HOSTS}}} offset 10m and"
            f" ignoring (backend, kernel, mode) hvo_backend_info{{{HOSTS}}} offset 1d",
            "purple",
        ),
        _note(
            "Exporter restarted",
            f"changes(process_start_time_seconds{{{HOSTS}}}[{_STEP}]) > 0"
            f" and ignoring (version, python) hvo_build_info{{{HOSTS}}}",
            "blue",
        ),
    )


def of_jobs() -> Sequence[AnnotationQuery]:
    """Annotations of a fleet, from recorded series: hosts switched, mix of kernels changed."""
    return (
        _note("HVO switched", f"changes(job:hvo_enabled:sum{{{JOBS}}}[{_STEP}]) > 0", "orange"),
        _note(
            "New kernel",
            f"job_kernel:hvo_backend_info:count{{{JOBS}}}"
            f" unless job_kernel:hvo_backend_info:count{{{JOBS}}} offset 10m",
            "purple",
        ),
    )


def _note(name: str, expr: str, color: str) -> AnnotationQuery:
    return (
        AnnotationQuery()
        .name(name)
        .datasource(DATASOURCE)
        .enable(True)
        .icon_color(color)
        .expr(expr)
    )

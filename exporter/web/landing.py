# SPDX-License-Identifier: Apache-2.0
"""The landing page at ``/``: source of the metrics, links, status of the probes."""

from html import escape

from probes.backend import Info
from probes.observation import Status

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse } th, td { text-align: left; padding: .2rem 1rem .2rem 0 }
th { border-bottom: 1px solid #999 } code { font-size: .95em }
.simulated, .problem { padding: .5rem 1rem; border-left: .4rem solid #c60; background: #fec8 }
"""


def render(version: str, info: Info, status: Status, telemetry_path: str) -> str:
    """Return the page's HTML."""
    rows = "".join(
        f"<tr><td>{escape(p.step)}</td><td><code>{escape(p.symbol or '-')}</code></td>"
        f"<td>{escape(p.attach if p.attached else 'not attached: ' + p.reason)}</td></tr>"
        for p in status.probes
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>hvoscope</title><style>{_STYLE}</style></head>
<body>
<h1>hvoscope</h1>
{_simulated(info)}{_problem(status)}
<p>Prometheus exporter for HugeTLB vmemmap optimization. Version {escape(version)},
backend <code>{escape(info.backend)}</code>, kernel <code>{escape(info.kernel)}</code>,
mode <code>{escape(info.mode)}</code>.</p>
<ul>
<li><a href="{escape(telemetry_path)}">Metrics</a></li>
<li><a href="/-/ready">Ready</a>: {"yes" if status.ready else "no"}</li>
<li><a href="/-/healthy">Healthy</a></li>
</ul>
<table>
<tr><th>Step</th><th>Kernel function</th><th>Probe</th></tr>
{rows}
</table>
</body>
</html>
"""


def _simulated(info: Info) -> str:
    if info.mode != "simulated":
        return ""
    return (
        '<p class="simulated"><strong>Simulated.</strong> These metrics come from a simulated '
        "kernel, not from this machine.</p>\n"
    )


def _problem(status: Status) -> str:
    if status.ready:
        return ""
    return f'<p class="problem"><strong>Not ready.</strong> {escape(status.problem)}</p>\n'

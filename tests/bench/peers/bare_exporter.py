# SPDX-License-Identifier: Apache-2.0
"""The least that an exporter in Python can be: prometheus_client's own server, values at rest.

``python -m tests.bench.peers.bare_exporter SCRAPE`` has the series of a saved scrape and prints its
port.
"""

import sys
import threading
from pathlib import Path

from prometheus_client import CollectorRegistry, Gauge, start_http_server
from prometheus_client.parser import text_string_to_metric_families


def registry_of(scrape: str) -> CollectorRegistry:
    """Every series of ``scrape`` as a gauge, with its labels and value."""
    registry = CollectorRegistry()
    gauges: dict[str, Gauge] = {}
    for family in text_string_to_metric_families(scrape):
        for sample in family.samples:
            if sample.name not in gauges:
                gauges[sample.name] = Gauge(
                    sample.name, family.documentation, sample.labels, registry=registry
                )
            gauge = gauges[sample.name]
            (gauge.labels(**sample.labels) if sample.labels else gauge).set(sample.value)
    return registry


def main() -> None:
    """Serve until killed."""
    registry = registry_of(Path(sys.argv[1]).read_text())
    server, _ = start_http_server(0, "127.0.0.1", registry)
    print(server.server_port, flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""For tests of other people's tools: a simulated kernel to operate on, and an exporter that runs.

Nothing here needs root, a network or the clock: the same operations on a machine of the same seed
give the same events, and simulated time passes as fast as the CPU goes. ``exporter.pytest_plugin``
makes fixtures of these.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from exporter.service.daemon import WebOptions, site_of
from exporter.web import sockets
from exporter.web.addresses import TcpAddress
from exporter.web.reload import WebConfigFile
from exporter.web.server import Server
from probes.counters import Counters
from probes.events import Event, unpack_all
from probes.observation import PROBES
from probes.operations import parse_operation
from sim_backend.backend import SimBackend
from sim_backend.kernel.sim_kernel import SimKernel


class SimulatedKernel:
    """A ``SimKernel`` that is being watched: what happened to it, and what was counted."""

    def __init__(self, machine: SimKernel) -> None:
        """Watch ``machine`` from ``watched_kernel`` on; it must be watched by nobody else."""
        self.machine = machine
        """Of which generation, memory pressure, idle time, page tables: see ``SimKernel``."""
        self._records = bytearray()
        self.backend = SimBackend(machine, sink=self._records.extend)
        """What an exporter takes for its backend."""

    def operate(self, *operations: str) -> int:
        """Do operations (``"grow 2MB 23"``), and return how many huge pages the last concerned.

        Raises ``ValueError`` for one that is not written right or that the machine can't do;
        the message says why.
        """
        done = 0
        for text in operations:
            done = self.backend.operate(parse_operation(text))
        return done

    @property
    def records(self) -> bytes:
        """All event records so far, back to back, as ``hvoscope simulate --events`` writes them."""
        return bytes(self._records)

    @property
    def events(self) -> list[Event]:
        """All events so far, in order."""
        return list(unpack_all(self.records))

    def counters(self) -> Counters:
        """What the exporter counts, as it stands."""
        return self.backend.observe((PROBES,)).counters

    def total(self, family: str, detail: str = "") -> int | None:
        """One counter summed over sizes and nodes: ``total("hugepages_skipped", "off")``.

        Family and detail are those of ``probes.counters.SLOTS``; None for any other.
        """
        return self.counters().total(family, detail)


@dataclass(frozen=True)
class RunningExporter:
    """An exporter on a free port of the loopback interface."""

    url: str
    """``http://127.0.0.1:PORT``, without a path."""

    @property
    def metrics_url(self) -> str:
        """What Prometheus would scrape."""
        return f"{self.url}/metrics"


@contextmanager
def watched_kernel(machine: SimKernel | None = None) -> Iterator[SimulatedKernel]:
    """Watch ``machine``, by default ``SimKernel()``: 16 GB on one node, kernel ``v17-enabled``."""
    kernel = SimulatedKernel(machine or SimKernel())
    kernel.backend.start()
    try:
        yield kernel
    finally:
        kernel.backend.stop()


@contextmanager
def running_exporter(kernel: SimulatedKernel) -> Iterator[RunningExporter]:
    """Serve what ``kernel`` counts, as ``hvoscope serve`` does, until the context ends."""
    web = WebOptions([TcpAddress("127.0.0.1", 0)])
    (listener,) = sockets.listen(web.addresses)
    url = sockets.address_of(listener).url("http")
    site = site_of(kernel.backend, web)
    server = Server([listener], site, WebConfigFile(None, time.monotonic))
    server.start()
    try:
        yield RunningExporter(url)
    finally:
        server.stop()

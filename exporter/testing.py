# SPDX-License-Identifier: Apache-2.0
"""Test helpers for other projects: a simulated kernel to operate on, and a running exporter.

They need no root, network or clock: the same operations with the same random seed give the same
events, and simulated time passes as fast as the CPU allows. ``exporter.pytest_plugin`` provides
them as fixtures.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from exporter.service.daemon import site_of
from exporter.service.web_options import WebOptions
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
    """A ``SimKernel`` with its events and counters."""

    def __init__(self, machine: SimKernel) -> None:
        """Wrap ``machine``, which no other backend may observe; ``watched_kernel`` starts it."""
        self.machine = machine
        """Generation, memory pressure, idle time, page tables: see ``SimKernel``."""
        self._records = bytearray()
        self.backend = SimBackend(machine, sink=self._records.extend)
        """The backend, to pass to an exporter."""

    def operate(self, *operations: str) -> int:
        """Run operations (``"grow 2MB 23"``) and return the last one's number of huge pages.

        Raises ``ValueError`` with the reason for an invalid or impossible operation.
        """
        done = 0
        for text in operations:
            done = self.backend.operate(parse_operation(text))
        return done

    @property
    def records(self) -> bytes:
        """All event records so far, concatenated, as ``hvoscope simulate --events`` writes them."""
        return bytes(self._records)

    @property
    def events(self) -> list[Event]:
        """All events so far, in order."""
        return list(unpack_all(self.records))

    def counters(self) -> Counters:
        """Return the current counters."""
        return self.backend.observe((PROBES,)).counters

    def total(self, family: str, detail: str = "") -> int | None:
        """Sum one counter over sizes and nodes: ``total("hugepages_skipped", "off")``.

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
        """The URL to scrape."""
        return f"{self.url}/metrics"


@contextmanager
def watched_kernel(machine: SimKernel | None = None) -> Iterator[SimulatedKernel]:
    """Observe ``machine``, by default ``SimKernel()``: 16 GB, one node, the newest kernel."""
    kernel = SimulatedKernel(machine or SimKernel())
    kernel.backend.start()
    try:
        yield kernel
    finally:
        kernel.backend.stop()


@contextmanager
def running_exporter(kernel: SimulatedKernel) -> Iterator[RunningExporter]:
    """Serve the metrics of ``kernel``, as ``hvoscope serve`` does, until the context ends."""
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

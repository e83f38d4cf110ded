# SPDX-License-Identifier: Apache-2.0
"""What a scrape takes, beside a bare exporter of as many series and Debian's node_exporter."""

import http.client
import os
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from tests.bench import servers
from tests.bench.figures import Figure, Ratio, Section, Table, figure, table
from tests.bench.servers import Server

NODES = 8
GROWTH = (1, 8, 64)
PARALLEL = (1, 10, 40, 100)
ROUNDS = 10
PATIENCE_S = 60
"""Stretches that a run is cut into: their medians are the spread."""

TEXT = "text/plain; version=0.0.4"
OPENMETRICS = "application/openmetrics-text; version=1.0.0"


class Way(NamedTuple):
    """How a scrape is asked for."""

    name: str
    accept: str
    encoding: str
    fresh: bool = False
    """On a connection of its own."""


PLAIN = Way("text", TEXT, "identity")
WAYS = (
    PLAIN,
    Way("text, gzip", TEXT, "gzip"),
    Way("OpenMetrics", OPENMETRICS, "identity"),
    Way("OpenMetrics, gzip", OPENMETRICS, "gzip"),
    Way("text, new connection", TEXT, "identity", fresh=True),
)


class Crowd(NamedTuple):
    """What so many clients at once got."""

    answered: int
    refused: int
    unanswered: int
    """Nothing came within ``PATIENCE_S``: connections wait in the server's queue, and are retried
    after 1, 3, 7, 15, 31 and 63 s where that is full (TCP)."""
    seconds: list[float]
    """Of those answered."""


class Grown(NamedTuple):
    """A machine of so many nodes."""

    nodes: int
    series: int
    seconds: list[float]
    cpu_seconds: float


class Measured(NamedTuple):
    """All that there is to say; hvoscope is the first server."""

    taken: Mapping[Way, Mapping[Server, list[float]]]
    """Seconds."""
    cpu_seconds: Mapping[Server, float]
    """Of one scrape."""
    series: Mapping[Server, int]
    crowds: Sequence[tuple[int, Crowd, Crowd]]
    """Clients, what hvoscope gave them, and what the bare exporter."""
    grown: Sequence[Grown]


class Client:
    """Scrapes one server in one way; keeps its connection if the server does."""

    def __init__(self, server: Server, way: Way) -> None:
        self._way = way
        self._headers = {"Accept": way.accept, "Accept-Encoding": way.encoding}
        self._connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE_S)

    def scrape(self) -> tuple[float, int, bytes]:
        """Seconds, status and body."""
        began = time.perf_counter()
        self._connection.request("GET", "/metrics", headers=self._headers)
        answer = self._connection.getresponse()
        body = answer.read()
        if self._way.fresh:
            self._connection.close()
        return time.perf_counter() - began, answer.status, body

    def close(self) -> None:
        """End the connection."""
        self._connection.close()


def measure(quick: bool) -> Section:
    """Below half a minute if ``quick``, else three minutes."""
    count = 100 if quick else 1000
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        ours = stack.enter_context(servers.hvoscope(Path(folder), NODES))
        scrape = Path(folder) / "scrape"
        servers.await_pools(ours, NODES)
        scrape.write_bytes(_get(ours, PLAIN))
        bare = stack.enter_context(servers.bare_exporter(scrape))
        everyone = (ours, bare, stack.enter_context(servers.node_exporter()))
        taken = {way: in_turns(everyone, way, count) for way in (WAYS[:2] if quick else WAYS)}
        spent = {server: cpu_per_scrape(server, count // 2) for server in everyone}
        sizes = (40,) if quick else PARALLEL
        crowds = [(size, crowd(ours, size), crowd(bare, size)) for size in sizes]
        series = {server: len(samples_of(_get(server, PLAIN))) for server in everyone}
    grown = [] if quick else [growth(nodes) for nodes in GROWTH]
    return section(Measured(taken, spent, series, crowds, grown))


def in_turns(everyone: Sequence[Server], way: Way, count: int) -> dict[Server, list[float]]:
    """Seconds of ``count`` scrapes of each, taking turns, after some that do not count."""
    clients = {server: Client(server, way) for server in everyone}
    taken: dict[Server, list[float]] = {server: [] for server in everyone}
    for turn in range(-10, count):
        for server, client in clients.items():
            seconds, status, _ = client.scrape()
            assert status == http.HTTPStatus.OK
            if turn >= 0:
                taken[server].append(seconds)
    for client in clients.values():
        client.close()
    return taken


def cpu_per_scrape(server: Server, count: int) -> float:
    """CPU seconds of the server for each of ``count`` scrapes."""
    client = Client(server, PLAIN)
    before = _cpu_seconds(server.pid)
    for _ in range(count):
        client.scrape()
    client.close()
    return (_cpu_seconds(server.pid) - before) / count


def crowd(server: Server, clients: int, each: int = 10) -> Crowd:
    """Let ``clients`` scrape at once, ``each`` times one after the other."""

    def one(_: int) -> list[tuple[float, int]]:
        client = Client(server, PLAIN)
        got = []
        for _ in range(each):
            try:
                got.append(client.scrape()[:2])
            except TimeoutError:
                client.close()
        client.close()
        return got

    with ThreadPoolExecutor(clients) as pool:
        got = [answer for answers in pool.map(one, range(clients)) for answer in answers]
    good = [seconds for seconds, status in got if status == http.HTTPStatus.OK]
    assert all(status in (200, 503) for _, status in got)
    return Crowd(len(good), len(got) - len(good), clients * each - len(got), good)


def growth(nodes: int) -> Grown:
    """100 scrapes of a machine of ``nodes``."""
    with tempfile.TemporaryDirectory() as folder, servers.hvoscope(Path(folder), nodes) as server:
        servers.await_pools(server, nodes)
        series = len(samples_of(_get(server, PLAIN)))
        taken = in_turns([server], PLAIN, 100)[server]
        return Grown(nodes, series, taken, cpu_per_scrape(server, 100))


def samples_of(body: bytes) -> list[bytes]:
    """The lines that are samples."""
    return [line for line in body.splitlines() if line and not line.startswith(b"#")]


def percentiles(seconds: Sequence[float]) -> tuple[Figure, Figure]:
    """p50 and p99 in ms, each of ``ROUNDS`` stretches of the run."""
    size = max(len(seconds) // ROUNDS, 2)
    stretches = [seconds[i : i + size] for i in range(0, len(seconds) - size + 1, size)]
    cuts = [statistics.quantiles(one, n=100, method="inclusive") for one in stretches]
    return (
        figure((cut[49] * 1e3 for cut in cuts), "ms"),
        figure((cut[98] * 1e3 for cut in cuts), "ms"),
    )


def section(measured: Measured) -> Section:
    """Tables and ratios of all that was measured."""
    ours, bare, node = measured.series
    p50, p99 = percentiles(measured.taken[PLAIN][ours])
    bare_p50, bare_p99 = percentiles(measured.taken[PLAIN][bare])
    spent = measured.cpu_seconds
    ratios = {
        "scrape.p50_over_bare": Ratio(
            p50.over(bare_p50).median,
            goal=1.0,
            about="scrape p50, hvoscope over bare prometheus_client",
        ),
        "scrape.p99_over_bare": Ratio(
            p99.over(bare_p99).median, about="scrape p99, hvoscope over bare prometheus_client"
        ),
        "scrape.cpu_over_node_exporter": Ratio(
            spent[ours] / spent[node],
            goal=0.6,
            about="CPU of a scrape, hvoscope over node_exporter",
        ),
    }
    tables = [_latencies(measured), _cpu(measured), _crowds(measured)]
    if measured.grown:
        tables.append(_growth(measured.grown))
    return Section("Scrape", ABOUT, BOUNDS, tuple(tables), ratios, (_quoted(measured),))


def _latencies(measured: Measured) -> Table:
    each = len(measured.taken[PLAIN][next(iter(measured.series))])
    return table(
        f"A scrape, {each:,} of each in turns, one client",
        ("asked for", *(f"{s.name}: {p}" for s in measured.series for p in ("p50", "p99"))),
        [
            (way.name, *(f for seconds in of.values() for f in percentiles(seconds)))
            for way, of in measured.taken.items()
        ],
        "prometheus_client's server speaks HTTP/1.0: every scrape is a new connection.",
    )


def _cpu(measured: Measured) -> Table:
    return table(
        "CPU of the exporter",
        ("exporter", "series", "CPU of a scrape", "of 1,000 series"),
        [
            (s.name, series, *_cpu_cells(measured.cpu_seconds[s], series))
            for s, series in measured.series.items()
        ],
    )


def _crowds(measured: Measured) -> Table:
    return table(
        "Clients at once, ten scrapes each",
        (
            *("clients", "answered", "refused (503)", f"not in {PATIENCE_S} s", "p50", "p99"),
            *("bare: answered", f"not in {PATIENCE_S} s", "p50", "p99"),
        ),
        [
            (
                *(n, a.answered, a.refused, a.unanswered, *percentiles(a.seconds)),
                *(b.answered, b.unanswered, *percentiles(b.seconds)),
            )
            for n, a, b in measured.crowds
        ],
        "hvoscope refuses more than 40 at once unless told otherwise (`--web.max-requests`).",
    )


def _growth(grown: Sequence[Grown]) -> Table:
    return table(
        "Growth with the machine, one client",
        ("nodes", "series", "p50", "p99", "CPU of a scrape", "of 1,000 series"),
        [
            (
                *(one.nodes, one.series, *percentiles(one.seconds)),
                *_cpu_cells(one.cpu_seconds, one.series),
            )
            for one in grown
        ],
    )


def _quoted(measured: Measured) -> Table:
    return table(
        "A scrape, 2 huge page sizes on 8 nodes",
        ("exporter", "series", "p50", "p99", "CPU"),
        [
            (
                *(s.name, series, *percentiles(measured.taken[PLAIN][s])),
                _cpu_cells(measured.cpu_seconds[s], series)[0],
            )
            for s, series in measured.series.items()
        ],
    )


def _cpu_cells(seconds: float, series: int) -> tuple[Figure, Figure]:
    return figure([seconds * 1e3], "ms"), figure([seconds * 1e6 / series], "ms")


ABOUT = (
    "`hvoscope serve` on a simulated machine of 8 nodes whose 2 MB and 1 GB pools move every ten"
    " seconds, beside Debian's node_exporter with its default collectors and the least that an"
    " exporter in Python can be: prometheus_client's own server with a gauge at rest for each of"
    " hvoscope's series. Client and servers share the machine's cores."
)
BOUNDS = (
    "Making the samples for each scrape, prometheus_client's text encoder for the families that"
    " have changed since the last one (the bare exporter encodes all), and parsing HTTP strictly."
    " Scrapes at once are answered one after the other: the counters are read once for each."
)


def _get(server: Server, way: Way) -> bytes:
    client = Client(server, way)
    _, status, body = client.scrape()
    client.close()
    assert status == http.HTTPStatus.OK
    return body


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

# SPDX-License-Identifier: Apache-2.0
"""The daemon under sustained load: memory, descriptors, hostile clients."""

import http.client
import ssl
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.exporter.service.test_daemon import daemon
from tests.exporter.web import hostile
from tests.exporter.web.certificates import WEB_CONFIG, client, write_server
from tests.process import taken
from tests.soak.meter import Scraper, rss_kib

pytestmark = pytest.mark.soak

SCRAPES = 7500
EVENTS = 3_000_000
WARM_UP_SCRAPES = 2500
WARM_UP_EVENTS = 4_000_000
"""Warm-up, until the scenario's pools have been full once."""

MOST_KIB = 40 * 1024
GROWTH_KIB = 1024

MAX = ("--backend", "sim", "--sim.kernel", "7.1", "--sim.time-scale", "max")
LEISURELY = ("--backend", "sim")


def where_of(url: str) -> tuple[str, int]:
    host, _, port = url.partition("://")[2].rpartition(":")
    return host, int(port)


def scrape_until(scraper: Scraper, done: Callable[[], bool], pause: float = 0.0) -> None:
    quiet = threading.Event()
    while not done():
        scraper.scrape()
        quiet.wait(pause)


def test_five_thousand_scrapes() -> None:
    with daemon(*LEISURELY) as (process, url, _):
        scraper = Scraper(*where_of(url))
        scrape_until(scraper, lambda: scraper.scrapes >= WARM_UP_SCRAPES)
        rss, fds = rss_kib(process.pid), taken(process.pid).descriptors
        scrape_until(scraper, lambda: scraper.scrapes >= SCRAPES)
        after = rss_kib(process.pid)
        print(f"\nRSS {rss} -> {after} KiB after {scraper.scrapes} scrapes")
        assert after - rss < GROWTH_KIB
        assert after < MOST_KIB
        assert taken(process.pid).descriptors == fds
        scraper.close()


def test_three_million_events() -> None:
    with daemon(*MAX) as (process, url, _):
        scraper = Scraper(*where_of(url))
        scrape_until(scraper, lambda: scraper.events() >= WARM_UP_EVENTS, pause=0.2)
        rss, fds = rss_kib(process.pid), taken(process.pid).descriptors
        scrape_until(scraper, lambda: scraper.events() >= WARM_UP_EVENTS + EVENTS, pause=0.2)
        after = rss_kib(process.pid)
        print(f"\nRSS {rss} -> {after} KiB; {scraper.events()} events, {scraper.scrapes} scrapes")
        assert after - rss < GROWTH_KIB
        assert taken(process.pid).descriptors == fds
        scraper.close()


def test_hostile_clients_do_not_block_scrapes(tmp_path: Path) -> None:
    write_server(tmp_path)
    config = tmp_path / "web.yml"
    config.write_text(WEB_CONFIG)
    with daemon(*LEISURELY, "--web.config.file", str(config)) as (process, url, _):
        where = where_of(url)
        scrape(where, client())
        rss, fds = rss_kib(process.pid), taken(process.pid).descriptors
        with (
            hostile.stalled(where, hostile.TLS, 200),
            hostile.many_requests_and_no_reading(where),
            ThreadPoolExecutor(40) as scrapers,
        ):
            contexts = [client() for _ in range(40)]
            list(scrapers.map(lambda n: scrape(where, contexts[n % 40]), range(509), timeout=300))
            besieged = rss_kib(process.pid)
        scrape(where, client())
        print(f"\nRSS {rss} -> {besieged} KiB under siege, {rss_kib(process.pid)} KiB after")
        assert besieged - rss < 24 * 1024
        assert taken(process.pid).descriptors < fds + 20  # disconnected clients hold no descriptors


def scrape(where: tuple[str, int], context: ssl.SSLContext) -> None:
    """Scrape as Prometheus does, on a new connection, within its timeout of ten seconds."""
    connection = http.client.HTTPSConnection(*where, timeout=10, context=context)
    try:
        connection.request("GET", "/metrics", headers={"Accept-Encoding": "gzip"})
        answer = connection.getresponse()
        assert answer.status == 200
        assert len(answer.read()) == int(answer.headers["Content-Length"]) > 1024
    finally:
        connection.close()

# SPDX-License-Identifier: Apache-2.0
"""Serve the page on loopback: its files, the dashboards, and proxied Prometheus queries."""

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

from dashboards.boards.build import FOLDER
from dashboards.render.rows import expanded

NOTE = "rendered with Grafana's libraries"
DASHBOARDS = ("hvo-fleet", "hvo-host", "hvo-kernel")
"""The first is opened if the address names none."""


class Settings(NamedTuple):
    """Settings of the page. Times are in seconds; ``to`` is since 1970, None means now."""

    prometheus: str
    to: float | None
    shown: float
    scrape_interval: float
    note: str = NOTE

    def as_json(self) -> bytes:
        """Return the JSON that the page reads."""
        return json.dumps(
            {
                "dashboards": DASHBOARDS,
                "to": self.to,
                "shown": self.shown,
                "scrapeInterval": self.scrape_interval,
                "note": self.note,
            }
        ).encode()


class _Handler(SimpleHTTPRequestHandler):
    def __init__(self, settings: Settings, *args: Any, **kwargs: Any) -> None:
        self._settings = settings
        super().__init__(*args, **kwargs)

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/settings.json":
            self._answer(200, self._settings.as_json())
        elif path.startswith("/dashboards/"):
            name = Path(path).name
            known = name in {f"{uid}.json" for uid in DASHBOARDS}
            self._answer(200 if known else 404, _board(name) if known else b"{}")
        elif path.startswith("/api/v1/query"):
            self._ask_prometheus()
        else:
            super().do_GET()

    def _ask_prometheus(self) -> None:
        try:
            with urllib.request.urlopen(f"{self._settings.prometheus}{self.path}") as answer:
                self._answer(200, answer.read())
        except urllib.error.HTTPError as error:
            self._answer(error.code, error.read())
        except OSError as error:
            self._answer(502, json.dumps({"error": str(error)}).encode())

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Log nothing: the page queries every few seconds."""


def _board(name: str) -> bytes:
    return json.dumps(expanded(json.loads((FOLDER / name).read_text()))).encode()


@contextmanager
def serving(site: Path, settings: Settings) -> Iterator[str]:
    """Serve the folder ``site`` on a free loopback port; yield the URL."""
    handler = partial(_Handler, settings, directory=str(site))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()

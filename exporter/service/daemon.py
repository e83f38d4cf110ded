# SPDX-License-Identifier: Apache-2.0
"""The exporter's life cycle: bind, serve, attach, wait for a signal, clean up."""

import logging
import os
import queue
import signal
import socket
import time
from importlib.metadata import version
from types import FrameType

from exporter.metrics.registry import make_registry
from exporter.service import malloc, privileges
from exporter.service.notify import Notifier
from exporter.service.web_options import WebOptions
from exporter.web import landing, sockets
from exporter.web.app import Readiness, Site, make_site
from exporter.web.reload import WebConfigFile
from exporter.web.server import Server
from probes.backend import Backend, BackendError
from probes.observation import PROBES, Status

log = logging.getLogger("hvoscope")

_CHECK_SECONDS = 10.0
"""Interval of checking the web server; a third of the service manager's watchdog, if it has one."""

_WEB_ENDED = 0
"""Queued like a signal's number: the web server has ended."""


class _Terminated(BaseException):
    """A signal asked the daemon to terminate."""


class WebDiedError(Exception):
    """The web server ended unexpectedly; the message is one line."""


def serve(backend: Backend, web: WebOptions, user: str = "") -> None:
    """Serve until SIGTERM or SIGINT, as ``user`` if given, without privileges.

    Ports are bound before probes are attached, so that a busy port leaves nothing behind. Only the
    backend's child process has the privileges to attach; the process that listens never does.

    Raises ``ListenError``, ``ConfigError``, ``PrivilegeError``, ``WebDiedError``.
    """
    notifier = Notifier(os.environ, os.getpid())
    web_config = WebConfigFile(web.config_file, time.monotonic)
    listeners = _listen(web)
    addresses = [sockets.address_of(listener) for listener in listeners]
    malloc.use_one_arena()
    backend.prepare()
    privileges.drop(user)
    wakeups: queue.SimpleQueue[int] = queue.SimpleQueue()
    server = Server(
        listeners,
        site_of(backend, web),
        web_config,
        web.limits,
        when_ended=lambda: wakeups.put(_WEB_ENDED),
    )
    try:
        _catch_signals(wakeups)  # before start: a client that gets a response may send a signal
        server.start()
        for address in addresses:
            log.info("listening on %s", address.url(web_config.current().scheme))
        _attach(backend)
        notifier.ready(_status_line(backend))
        _supervise(server, backend, wakeups, notifier)
    except _Terminated:
        _ignore_signals()
        log.info("stopping")
    finally:
        notifier.stopping()
        server.stop()
        backend.stop()
        if not web.from_systemd:
            for address in addresses:
                sockets.remove_path(address)


def _listen(web: WebOptions) -> list[socket.socket]:
    if web.from_systemd:
        return sockets.from_systemd(os.environ, os.getpid())
    return sockets.listen(web.addresses)


def site_of(backend: Backend, web: WebOptions) -> Site:
    """Make the site that serves the metrics of ``backend``."""
    registry = make_registry(backend)

    def readiness() -> Readiness:
        status = _status(backend)
        return Readiness(status.ready, status.problem)

    def landing_page() -> str:
        return landing.render(
            version("hvoscope"), backend.info, _status(backend), web.telemetry_path
        )

    return make_site(registry, web.telemetry_path, readiness, landing_page, registry)


def _status(backend: Backend) -> Status:
    return backend.observe((PROBES,)).status


def _attach(backend: Backend) -> None:
    info = backend.info
    if info.mode == "simulated":
        log.warning("these metrics are SIMULATED (kernel %s), not this machine's", info.kernel)
    try:
        backend.start()
    except BackendError as error:
        log.error("no probes attached, serving only the kernel's state: %s", error)
        return
    status = _status(backend)
    for probe in status.probes:
        if probe.attached:
            log.info("%s: %s on %s", probe.step, probe.attach, probe.symbol)
        else:
            log.warning("%s: not attached: %s", probe.step, probe.reason)
    log.info("ready" if status.ready else "not ready")


def _status_line(backend: Backend) -> str:
    """Return the line that ``systemctl status`` shows."""
    status = _status(backend)
    if not status.ready:
        return f"not ready: {status.problem}"
    attached = sum(probe.attached for probe in status.probes)
    return f"ready: {attached} probes, {backend.info.mode}"


def _supervise(
    server: Server, backend: Backend, wakeups: queue.SimpleQueue[int], notifier: Notifier
) -> None:
    """Reload on SIGHUP, and feed the service manager's watchdog while the web server responds."""
    watchdog = notifier.watchdog_seconds
    seconds = watchdog / 3 if watchdog else _CHECK_SECONDS
    while True:
        try:
            number = wakeups.get(timeout=seconds)
        except queue.Empty:
            if server.is_responsive(seconds):
                notifier.alive(_status_line(backend))
            continue
        if number == _WEB_ENDED:
            raise WebDiedError(server.problem)
        log.info("SIGHUP")
        notifier.reloading()
        server.reload()
        backend.reload()
        notifier.ready(_status_line(backend))


def _catch_signals(wakeups: queue.SimpleQueue[int]) -> None:
    def terminate(_signal: int, _frame: FrameType | None) -> None:
        raise _Terminated

    def hang_up(number: int, _frame: FrameType | None) -> None:
        wakeups.put(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, terminate)
    signal.signal(signal.SIGHUP, hang_up)


def _ignore_signals() -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)

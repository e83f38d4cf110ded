# SPDX-License-Identifier: Apache-2.0
"""The life of the exporter: bind, serve, attach, wait for a signal, give everything back."""

import logging
import signal
import threading
from importlib.metadata import version
from types import FrameType
from wsgiref.types import WSGIApplication

from exporter import landing
from exporter.collector import DEFAULT_MAX_SERIES
from exporter.registry import make_registry
from exporter.web import Address, Readiness, Server, make_app
from probes.accounting import Drift, State
from probes.backend import Backend, BackendError

log = logging.getLogger("hvoscope")


class _Terminated(BaseException):
    """A signal asked the daemon to end, whatever it was doing."""


class AddressError(Exception):
    """The address to listen on can't be had; the message says which and why."""


def serve(
    backend: Backend,
    state: State,
    address: Address,
    telemetry_path: str,
    *,
    max_series: int = DEFAULT_MAX_SERIES,
) -> None:
    """Serve until SIGTERM or SIGINT. Raises ``AddressError``.

    The port is bound before anything is attached, so that a busy port leaves nothing behind.
    """
    drift = Drift(backend, state)
    registry = make_registry(backend, state, drift, max_series=max_series)

    def readiness() -> Readiness:
        status = backend.status()
        return Readiness(status.ready, status.problem)

    def landing_page() -> str:
        return landing.render(version("hvoscope"), backend.info, backend.status(), telemetry_path)

    app = make_app(registry, telemetry_path, readiness, landing_page)
    with _listen(address, app) as server:
        thread = threading.Thread(target=server.serve_forever, name="web", daemon=True)
        thread.start()
        try:
            _catch_signals()
            log.info("listening on %s", address._replace(port=server.server_port).url)
            _attach(backend)
            drift.mark()
            threading.Event().wait()
        except _Terminated:
            _ignore_signals()
            log.info("stopping")
        finally:
            server.shutdown()
            thread.join()
            backend.stop()


def _listen(address: Address, app: WSGIApplication) -> Server:
    try:
        return Server(address, app)
    except OSError as error:
        raise AddressError(
            f"can't listen on {address.host} port {address.port}: {error.strerror or error}"
        ) from error


def _attach(backend: Backend) -> None:
    info = backend.info
    if info.mode == "simulated":
        log.warning("these numbers are SIMULATED (kernel %s), not this machine's", info.kernel)
    try:
        backend.start()
    except BackendError as error:
        log.error("no probes, only the kernel's state is served: %s", error)
        return
    status = backend.status()
    for probe in status.probes:
        if probe.attached:
            log.info("%s: %s on %s", probe.step, probe.attach, probe.symbol)
        else:
            log.warning("%s: not attached: %s", probe.step, probe.reason)
    log.info("ready" if status.ready else "not ready")


def _catch_signals() -> None:
    def terminate(_signal: int, _frame: FrameType | None) -> None:
        raise _Terminated

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, terminate)


def _ignore_signals() -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)

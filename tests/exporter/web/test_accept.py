# SPDX-License-Identifier: Apache-2.0
"""Failing accept(2): out of descriptors, for one connection, and permanently."""

import errno
import http.client
import os
import resource
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from exporter.web import sockets
from exporter.web.addresses import TcpAddress
from exporter.web.reload import WebConfigFile
from exporter.web.server import Server
from tests.exporter.service.test_daemon import REPOSITORY, SERVE, daemon
from tests.exporter.web.site import LOOPBACK, Numbers, ask, eventually
from tests.process import taken


def server_of(*listeners: socket.socket) -> tuple[Server, threading.Event]:
    """Return a server, and an event that is set when it has ended."""
    ended = threading.Event()
    config = WebConfigFile(None, lambda: 0.0)
    return Server(listeners, Numbers().site(), config, when_ended=ended.set), ended


def healthy(listener: socket.socket) -> int:
    address = sockets.address_of(listener)
    assert isinstance(address, TcpAddress)
    connection = http.client.HTTPConnection(*address, timeout=30)
    try:
        return ask(connection, "/-/healthy")[0]
    finally:
        connection.close()


class Failing(socket.socket):
    """A listening socket whose accept fails with given errors."""

    error = errno.EPERM
    tries = 0

    def accept(self) -> tuple[socket.socket, object]:
        self.tries += 1
        raise OSError(self.error, os.strerror(self.error))


def failing(error: int) -> Failing:
    (listener,) = sockets.listen([LOOPBACK])
    made = Failing(fileno=listener.detach())
    made.error = error
    return made


@pytest.mark.parametrize(
    "error", [errno.EPERM, errno.EPROTO, errno.ECONNABORTED, errno.EMFILE, errno.ENOMEM]
)
def test_a_temporary_error_is_retried_and_starves_no_client(
    error: int, caplog: pytest.LogCaptureFixture
) -> None:
    (good,) = sockets.listen([LOOPBACK])
    bad = failing(error)
    server, ended = server_of(good, bad)
    server.start()
    try:
        assert healthy(good) == 200
        eventually(lambda: bad.tries >= 5)
        assert not ended.wait(0.5)
        assert bad.tries < 20  # pauses double from 1 ms to half a second
        assert healthy(good) == 200
    finally:
        server.stop()
    assert ended.is_set()
    assert server.problem == ""
    assert [r.message for r in caplog.records] == [
        f"can't accept a connection: {os.strerror(error)} (logged once)"
    ]


@pytest.mark.parametrize("error", [errno.EINVAL, errno.EACCES, errno.EBADF, errno.ENOTSOCK])
def test_a_permanent_error_ends_the_server(error: int, caplog: pytest.LogCaptureFixture) -> None:
    bad = failing(error)
    where = str(sockets.address_of(bad))
    server, ended = server_of(bad)
    server.start()
    assert ended.wait(30)
    assert server.problem == (f"can no longer accept connections on {where}: {os.strerror(error)}")
    assert bad.tries == 1
    assert caplog.records == []
    server.stop()


def test_a_socket_that_was_shut_down_ends_the_server() -> None:
    (listener,) = sockets.listen([LOOPBACK])
    server, ended = server_of(listener)
    server.start()
    assert healthy(listener) == 200
    listener.shutdown(socket.SHUT_RDWR)
    assert ended.wait(30)
    assert server.problem.startswith("can no longer accept connections on ")
    assert server.problem.endswith(": Invalid argument")
    server.stop()


def test_a_daemon_whose_socket_is_shut_down_ends_with_one_line() -> None:
    (listener,) = sockets.listen([LOOPBACK])
    fd = listener.fileno()
    as_systemd = (
        f"import os, sys; os.dup2({fd}, 3); pid = str(os.getpid()); "
        "os.execve(sys.argv[1], sys.argv[1:], {**os.environ, 'LISTEN_PID': pid, 'LISTEN_FDS': '1'})"
    )
    with subprocess.Popen(
        [sys.executable, "-c", as_systemd, *SERVE, "--backend", "sim", "--web.systemd-socket"],
        stderr=subprocess.PIPE,
        pass_fds=[fd],
        text=True,
        cwd=REPOSITORY,
    ) as process:
        assert healthy(listener) == 200
        address = sockets.address_of(listener)
        listener.shutdown(socket.SHUT_RDWR)
        assert process.wait(60) == 2
        assert process.stderr
        reported = process.stderr.read().splitlines()
    listener.close()
    assert reported[-1] == (
        f"hvoscope: error: can no longer accept connections on {address}: Invalid argument"
    )
    assert not any("Traceback" in line for line in reported)


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_daemon_out_of_descriptors_serves_open_connections_and_recovers() -> None:
    with daemon("--backend", "sim") as (process, url, _):
        host, _, port = url.removeprefix("http://").partition(":")
        first = http.client.HTTPConnection(host, int(port), timeout=30)
        assert ask(first, "/-/healthy")[0] == 200
        before = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
        most = taken(process.pid).descriptors
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (most, before[1]))
        second = http.client.HTTPConnection(host, int(port), timeout=30)
        second.request("GET", "/-/healthy")
        began = cpu_seconds(process.pid)
        for _ in range(10):
            assert ask(first, "/-/healthy")[0] == 200
            threading.Event().wait(0.1)
        assert cpu_seconds(process.pid) - began < 0.5
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, before)
        assert second.getresponse().status == 200
        first.close()
        second.close()

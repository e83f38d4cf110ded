# SPDX-License-Identifier: Apache-2.0
"""Notifications to the service manager."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.service.notify import Notifier

PID = 509


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    name = str(tmp_path / "notify") if request.param == "path" else f"@{tmp_path}/notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0{name[1:]}" if name.startswith("@") else name)
        manager.settimeout(30)
        yield manager, name


def test_messages_to_the_manager(manager: tuple[socket.socket, str]) -> None:
    heard, address = manager
    environ = {"NOTIFY_SOCKET": address, "HOME": "/"}
    notifier = Notifier(environ, PID, clock_ns=lambda: 23_000_999)
    assert environ == {"HOME": "/"}
    notifier.ready("ready:\n5 probes")
    assert heard.recv(4096) == b"READY=1\nSTATUS=ready: 5 probes"
    notifier.reloading()
    assert heard.recv(4096) == b"RELOADING=1\nMONOTONIC_USEC=23000"
    notifier.alive("ready")
    assert heard.recv(4096) == b"WATCHDOG=1\nSTATUS=ready"
    notifier.stopping()
    assert heard.recv(4096) == b"STOPPING=1\nSTATUS=stopping"


def test_no_service_manager() -> None:
    Notifier({}, PID).ready("ready")
    Notifier({"NOTIFY_SOCKET": "/nonexistent/notify"}, PID).ready("ready")


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "1500000", "WATCHDOG_PID": "509"}, 1.5),
        ({"WATCHDOG_USEC": "1500000", "WATCHDOG_PID": "23"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_watchdog(environ: dict[str, str], seconds: float | None) -> None:
    assert Notifier(environ, PID).watchdog_seconds == seconds
    assert environ == {}

# SPDX-License-Identifier: Apache-2.0
"""``hvoscope serve`` on signals, a full disk, and a closed log."""

import contextlib
import os
import re
import signal
import socket
import ssl
import subprocess
import time
from pathlib import Path

import pytest

from tests.exporter.service.test_daemon import REPOSITORY, SERVE, daemon, get
from tests.exporter.web.certificates import WEB_CONFIG, client, write_server

SIM = ("--backend", "sim")


def over(path: Path, page: str) -> str:
    """Get a page over a Unix socket, whose path, unlike a port, can't be taken by others."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(30)
        client.connect(str(path))
        client.sendall(f"GET {page} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        with client.makefile("rb") as answer:
            return answer.read().decode()


def next_line(process: "subprocess.Popen[str]", containing: str) -> str:
    assert process.stderr
    return next(line for line in process.stderr if containing in line)


def test_sighup_reloads_the_web_configuration(tmp_path: Path) -> None:
    path = tmp_path / "web.yml"
    path.write_text("http_server_config: {headers: {X-Frame-Options: deny}}\n")
    with daemon(*SIM, "--web.config.file", str(path)) as (process, url, _):
        process.send_signal(signal.SIGHUP)
        assert "INFO web configuration reloaded" in next_line(process, "INFO web")
        path.write_text("nonsense: 1\n")
        process.send_signal(signal.SIGHUP)
        assert "web.yml:1: nonsense: unknown key" in next_line(process, "ERROR")
        assert "hvo_build_info" in get(f"{url}/metrics")
        process.terminate()
        assert process.wait(60) == 0


def test_sighup_without_a_configuration_is_harmless() -> None:
    with daemon(*SIM) as (process, url, _):
        process.send_signal(signal.SIGHUP)
        next_line(process, "SIGHUP")
        assert get(f"{url}/-/ready") == "ready\n"


def test_sigterm_with_clients_in_every_state_is_quick_and_clean(tmp_path: Path) -> None:
    write_server(tmp_path)
    path = tmp_path / "web.yml"
    path.write_text(WEB_CONFIG)
    with (
        daemon(*SIM, "--web.config.file", str(path)) as (process, url, _),
        contextlib.ExitStack() as streams,
    ):
        host, port = url.removeprefix("https://").split(":")

        def connect() -> socket.socket:
            return streams.enter_context(socket.create_connection((host, int(port)), 30))

        def connect_securely() -> ssl.SSLSocket:
            secure = client().wrap_socket(connect(), server_hostname=host)
            return streams.enter_context(secure)

        connect()
        connect().sendall(b"\x16\x03\x01\x02\x00\x01")  # the beginning of a ClientHello
        connect_securely()
        connect_securely().sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 100)
        began = time.monotonic()
        process.terminate()
        assert process.wait(60) == 0
        assert time.monotonic() - began < 20  # a grace period of one second, on a loaded machine
        assert process.stderr
        assert process.stderr.read().endswith("INFO stopping\n")


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("target", ["/dev/full", "closed pipe"])
def test_an_unwritable_log_is_harmless(tmp_path: Path, target: str, unbuffered: str) -> None:
    if target == "closed pipe":
        reader, stderr = os.pipe()
        os.close(reader)
    else:
        stderr = os.open(target, os.O_WRONLY)
    path = tmp_path / "socket"
    command = [*SERVE, *SIM, "--web.listen-address", f"unix:{path}"]
    env = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    with subprocess.Popen(command, stderr=stderr, cwd=REPOSITORY, env=env) as process:
        os.close(stderr)
        try:
            wait_for(path)
            process.send_signal(signal.SIGHUP)
            assert "hvo_build_info" in over(path, "/metrics")
            process.terminate()
            assert process.wait(60) == 0
        finally:
            process.kill()


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if over(path, "/-/ready").endswith("\r\n\r\nready\n"):
                return
        except OSError:
            pass
        time.sleep(0.05)  # poll: no ready notification here
    raise AssertionError("the daemon did not start")


def test_notifications_to_the_service_manager(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(60)
        env = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "300000"}
        with daemon(*SIM, env=env) as (process, _, _):
            ready = b"STATUS=ready: 6 probes, simulated"
            assert manager.recv(4096) == b"READY=1\n" + ready
            assert manager.recv(4096) == b"WATCHDOG=1\n" + ready
            process.send_signal(signal.SIGHUP)
            heard = {manager.recv(4096)}
            while b"READY=1\n" + ready not in heard:
                heard.add(manager.recv(4096))
            assert any(
                re.match(rb"RELOADING=1\nMONOTONIC_USEC=\d+$", reported) for reported in heard
            )
            process.terminate()
            while (reported := manager.recv(4096)).startswith(b"WATCHDOG"):
                pass
            assert reported.startswith(b"STOPPING=1\n")
            assert process.wait(60) == 0


def test_several_addresses_at_once(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with daemon(*SIM, "--web.listen-address", f"unix:{path}") as (process, url, log):
        assert any(f"listening on http+unix:{path}" in line for line in log)
        assert get(f"{url}/-/healthy") == "healthy\n"
        with socket.socket(socket.AF_UNIX) as over_path:
            over_path.connect(str(path))
        process.terminate()
        assert process.wait(60) == 0
    assert not path.exists()


def test_a_socket_from_systemd() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        start = (
            "import os, sys; os.dup2(int(sys.argv[1]), 3); "
            "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1'); "
            "os.execv(sys.argv[2], sys.argv[2:])"
        )
        command = [
            *(SERVE[0], "-c", start, str(listener.fileno())),
            *(*SERVE, *SIM, "--web.systemd-socket"),
        ]
        with subprocess.Popen(command, pass_fds=(listener.fileno(),), cwd=REPOSITORY) as process:
            try:
                assert get(f"http://127.0.0.1:{port}/-/healthy") == "healthy\n"
                process.terminate()
                assert process.wait(60) == 0
            finally:
                process.kill()


@pytest.mark.parametrize(
    ("text", "code", "reported"),
    [
        ("rate_limit: {interval: 1s, burst: 5}", 0, "configuration is valid"),
        ("rate_limit: {intervall: 1s}", 2, "web.yml:1: rate_limit.intervall: unknown key"),
        (
            "tls_server_config: {cert_file: gone.crt, key_file: gone.key}",
            2,
            "gone.crt: No such file or directory",
        ),
    ],
)
def test_config_check(tmp_path: Path, text: str, code: int, reported: str) -> None:
    path = tmp_path / "web.yml"
    path.write_text(text + "\n")
    ran = subprocess.run(
        [*SERVE, "--web.config.file", str(path), "--config.check"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=REPOSITORY,
    )
    assert ran.returncode == code
    (line,) = (ran.stdout + ran.stderr).splitlines()
    assert reported in line

# SPDX-License-Identifier: Apache-2.0
"""Runs in the guest: the live exporter behind TLS, client certificates and a password."""

import base64
import ssl
import subprocess
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

import bcrypt

from tests.exporter.web.certificates import CA, OTHER_CA, client, write_server
from tests.kernel.workload import HVOSCOPE, Notes, wait_for

ADDRESS = "127.0.0.1:10918"
USER, PASSWORD = "prometheus", "correct horse"
CLIENT = "scraper@example.org"

_CONFIG = """\
tls_server_config:
  cert_file: server.crt
  key_file: server.key
  client_ca_file: ca.crt
  client_auth_type: RequireAndVerifyClientCert
basic_auth_users:
  {user}: {hash}
"""


def ask_secured(out: Path) -> Notes:
    """Statuses of scrapes by good and bad clients, and what the daemon's process may do."""
    good, wrong = (client(ca.issue_cert(CLIENT)) for ca in (CA, OTHER_CA))
    with tempfile.TemporaryDirectory() as name:
        config = _write_config(Path(name))
        command = [HVOSCOPE, "serve", "--web.listen-address", ADDRESS]
        log = out / "serve-secured.log"
        with (
            log.open("wb") as stderr,
            subprocess.Popen([*command, "--web.config.file", config], stderr=stderr) as process,
        ):
            try:
                wait_for(lambda: scrape(good, "/-/ready", PASSWORD)[0] == 200)
                status, body = scrape(good, "/metrics", PASSWORD)
                return {
                    "good": status,
                    "probes": "hvo_probe_attached{" in body,
                    "no password": scrape(good, "/metrics", None)[0],
                    "wrong password": scrape(good, "/metrics", "battery staple")[0],
                    "no certificate": scrape(client(), "/metrics", PASSWORD)[0],
                    "wrong certificate": scrape(wrong, "/metrics", PASSWORD)[0],
                    "process": threads(process.pid),
                }
            finally:
                process.terminate()
                process.wait(60)


def _write_config(folder: Path) -> Path:
    write_server(folder)
    hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(10)).decode()
    path = folder / "web.yml"
    path.write_text(_CONFIG.format(user=USER, hash=hashed))
    return path


def scrape(context: ssl.SSLContext, path: str, password: str | None) -> tuple[int, str]:
    """Status and body; 0 where TLS lets nothing through."""
    request = urllib.request.Request(f"https://{ADDRESS}{path}")
    if password is not None:
        token = base64.b64encode(f"{USER}:{password}".encode()).decode()
        request.add_header("Authorization", f"Basic {token}")
    try:
        with urllib.request.urlopen(request, timeout=60, context=context) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, ""
    except OSError:
        return 0, ""


def threads(pid: int) -> list[dict[str, str]]:
    """/proc/PID/status of every thread of a process."""
    return [
        dict(line.split(":\t", 1) for line in path.read_text().splitlines() if ":\t" in line)
        for path in Path(f"/proc/{pid}/task").glob("*/status")
    ]

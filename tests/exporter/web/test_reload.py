# SPDX-License-Identifier: Apache-2.0
"""A web configuration that changes while it is active."""

import logging
from pathlib import Path

import pytest

from exporter.web.reload import WebConfigFile
from exporter.web.yaml_file import ConfigError
from tests.exporter.web.certificates import CA, WEB_CONFIG, client, write_server
from tests.exporter.web.site import Numbers, Served, ask

LIMIT = "rate_limit: {interval: 1h, burst: 2}\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "web.yml"
    path.write_text("")
    write_server(tmp_path)
    return path


def replace(path: Path, text: str) -> None:
    """Replace the file atomically, by rename."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.rename(path)


def file_of(path: Path | None) -> WebConfigFile:
    return WebConfigFile(path, lambda: 0.0)


def test_without_a_file() -> None:
    rules = file_of(None)
    rules.reload()
    assert rules.current().scheme == "http"


def test_an_invalid_file_prevents_the_start(path: Path) -> None:
    path.write_text("nonsense: 1\n")
    with pytest.raises(ConfigError, match="unknown key"):
        file_of(path)


def test_an_unchanged_file_is_not_reloaded(path: Path) -> None:
    rules = file_of(path)
    assert rules.current() is rules.current()


@pytest.mark.parametrize("name", ["web.yml", "server.crt", "server.key"])
def test_every_file_that_is_named_is_watched(path: Path, name: str) -> None:
    path.write_text(WEB_CONFIG)
    rules = file_of(path)
    before = rules.current()
    replace(path.parent / name, (path.parent / name).read_text())
    assert rules.current() is not before


def test_an_invalid_change_is_logged_once_and_the_old_configuration_stays(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rules = file_of(path)
    before = rules.current()
    replace(path, "tls_server_config: {cert_file: gone.crt, key_file: gone.key}\n")
    for _ in range(23):
        assert rules.current() is before
    path.unlink()
    for _ in range(23):
        assert rules.current() is before
    reported = [record.message for record in caplog.records]
    assert len(reported) == 2
    assert "the previous one stays active" in reported[0] and "gone.crt" in reported[0]
    assert "web.yml: No such file or directory" in reported[1]


def test_a_certificate_and_its_key_that_change_one_after_the_other(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    path.write_text(WEB_CONFIG)
    rules = file_of(path)
    before = rules.current()
    certificate = CA.issue_cert("127.0.0.1")
    certificate.cert_chain_pems[0].write_to_path(path.parent / "server.crt")
    assert rules.current() is before  # the key still belongs to the old certificate
    certificate.private_key_pem.write_to_path(path.parent / "server.key")
    assert rules.current() is not before
    levels = [record.levelname for record in caplog.records]
    assert levels == ["ERROR", "INFO"]


def test_a_reload_does_not_refill_the_bucket(path: Path) -> None:
    path.write_text(LIMIT)
    rules = file_of(path)
    bucket = rules.current().bucket
    assert bucket and bucket.take()
    replace(path, LIMIT + "http_server_config: {http2: false}\n")
    assert rules.current().bucket is bucket
    replace(path, LIMIT.replace("2", "3"))
    assert rules.current().bucket is not bucket


def test_a_renewed_certificate_is_served_to_the_next_client(path: Path) -> None:
    path.write_text(WEB_CONFIG)
    with Served(Numbers().site(), path) as served:
        assert served.ask("/numbers", context=client())[0] == 200
        write_server(path.parent, "renewed.example")
        with pytest.raises(OSError, match=r"CERTIFICATE_VERIFY_FAILED.*127\.0\.0\.1"):
            served.ask("/numbers", context=client())
        write_server(path.parent)
        assert served.ask("/numbers", context=client())[0] == 200


def test_a_connection_from_before_tls_serves_no_further_request(path: Path) -> None:
    with Served(Numbers().site(), path) as served, served.connection() as connection:
        assert ask(connection, "/numbers")[0] == 200
        replace(path, WEB_CONFIG)
        with pytest.raises(OSError, match=r"without response|reset"):
            ask(connection, "/numbers")
        assert served.ask("/numbers", context=client())[0] == 200


def test_a_rate_limit(path: Path) -> None:
    path.write_text(LIMIT)
    with Served(Numbers().site(), path) as served:
        assert [served.ask("/-/healthy")[0] for _ in range(3)] == [200, 200, 429]

# SPDX-License-Identifier: Apache-2.0
"""TLS with real certificates: accepted clients, invalid files, served certificates."""

import http.client
import os
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from exporter.web.config import read_config
from exporter.web.tls import is_allowed, make_context
from exporter.web.yaml_file import ConfigError
from tests.exporter.service.test_daemon import REPOSITORY, SERVE, daemon
from tests.exporter.web.certificates import CA, OTHER_CA, client, write_server
from tests.exporter.web.site import Numbers, Served, ask

TLS = "tls_server_config: {cert_file: server.crt, key_file: server.key"
MTLS = TLS + ", client_ca_file: ca.crt, client_auth_type: RequireAndVerifyClientCert"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_server(tmp_path)
    return tmp_path


def served(folder: Path, text: str) -> Served:
    path = folder / "web.yml"
    path.write_text(text)
    return Served(Numbers().site(), path)


def test_https(folder: Path) -> None:
    with served(folder, TLS + "}") as site, site.connection(client()) as connection:
        for _ in range(3):
            assert ask(connection, "/numbers")[0] == 200
        assert isinstance(connection.sock, ssl.SSLSocket)
        assert connection.sock.version() == "TLSv1.3"


def test_a_response_of_many_records(folder: Path) -> None:
    numbers = Numbers()
    site = numbers.site()
    path = folder / "web.yml"
    path.write_text(TLS + "}")
    text = "<p>" + "x" * 1_000_003
    pages = {**site.pages, "/": lambda _: site.pages["/"](_)._replace(body=text.encode())}
    with Served(site._replace(pages=pages), path) as long:
        assert long.ask("/", context=client())[1].decode() == text


def test_plain_http_to_a_tls_port_gets_no_response(folder: Path) -> None:
    with served(folder, TLS + "}") as site:
        with pytest.raises(OSError, match=r"reset|closed|without response"):
            site.ask("/numbers")
        assert site.ask("/numbers", context=client())[0] == 200


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_versions(folder: Path, version: ssl.TLSVersion) -> None:
    context = client()
    context.minimum_version = context.maximum_version = version
    with served(folder, TLS + "}") as site:
        assert site.ask("/numbers", context=context)[0] == 200
    other = "TLS13" if version == ssl.TLSVersion.TLSv1_2 else "TLS12"
    only = f"{TLS}, min_version: {other}, max_version: {other}}}"
    with served(folder, only) as site, pytest.raises(ssl.SSLError):
        site.ask("/numbers", context=context)


def test_the_cipher_is_one_of_the_configured(folder: Path) -> None:
    context = client()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    chosen = "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"
    with (
        served(folder, f"{TLS}, cipher_suites: [{chosen}]}}") as site,
        site.connection(context) as connection,
    ):
        connection.connect()
        assert isinstance(connection.sock, ssl.SSLSocket)
        cipher = connection.sock.cipher()
        assert cipher and "AES256-GCM-SHA384" in cipher[0]


def test_clients_with_and_without_a_certificate(folder: Path) -> None:
    good, stranger = CA.issue_cert("prometheus.example"), OTHER_CA.issue_cert("prometheus.example")
    with served(folder, MTLS + "}") as site:
        assert site.ask("/numbers", context=client(good))[0] == 200
        for refused in (client(), client(stranger)):
            with pytest.raises(OSError, match=r"alert|reset|closed|EOF"):
                site.ask("/numbers", context=refused)
    if_given = MTLS.replace("RequireAndVerifyClientCert", "VerifyClientCertIfGiven") + "}"
    with served(folder, if_given) as site:
        assert site.ask("/numbers", context=client())[0] == 200
        with pytest.raises(OSError, match=r"alert|reset|closed|EOF"):
            site.ask("/numbers", context=client(stranger))


@pytest.mark.parametrize(
    "allowed", ["prometheus.example", "192.0.2.7", "2001:db8::7", "2001:DB8:0::0007"]
)
def test_client_allowed_sans(folder: Path, allowed: str) -> None:
    with served(folder, f'{MTLS}, client_allowed_sans: ["{allowed}"]}}') as site:
        good = CA.issue_cert("prometheus.example", "192.0.2.7", "2001:db8::7")
        assert site.ask("/numbers", context=client(good))[0] == 200
        with pytest.raises(OSError, match=r"reset|closed|without response|EOF"):
            site.ask("/numbers", context=client(CA.issue_cert("another.example")))


@pytest.mark.parametrize("auth", ["RequireAndVerifyClientCert", "VerifyClientCertIfGiven"])
def test_without_a_client_ca_the_system_cas_are_used(folder: Path, auth: str) -> None:
    (folder / "web.yml").write_text(f"{TLS}, client_auth_type: {auth}}}")
    roots = {"SSL_CERT_FILE": str(folder / "ca.crt"), "SSL_CERT_DIR": str(folder / "none")}
    config = ("--backend", "sim", "--web.config.file", str(folder / "web.yml"))
    with daemon(*config, env=roots) as (_, url, log):
        assert any("any CA of the system is accepted" in line for line in log)
        good, stranger = CA.issue_cert("a.example"), OTHER_CA.issue_cert("a.example")
        assert status(url, client(good)) == 200
        with pytest.raises(OSError, match=r"alert|reset|closed|EOF"):
            status(url, client(stranger))
        if auth == "VerifyClientCertIfGiven":
            assert status(url, client()) == 200
        else:
            with pytest.raises(OSError, match=r"alert|reset|closed|EOF"):
                status(url, client())


def test_required_client_certificates_need_a_ca(folder: Path) -> None:
    (folder / "web.yml").write_text(f"{TLS}, client_auth_type: RequireAndVerifyClientCert}}")
    ran = subprocess.run(
        [*SERVE, "--backend", "sim", "--web.config.file", folder / "web.yml", "--config.check"],
        env={**os.environ, "SSL_CERT_FILE": "/none", "SSL_CERT_DIR": "/none:/no"},
        capture_output=True,
        text=True,
        check=False,
        cwd=REPOSITORY,
    )
    assert ran.returncode == 2
    assert ran.stderr == (
        f"hvoscope: error: {folder}/web.yml:1: tls_server_config: RequireAndVerifyClientCert needs "
        "client_ca_file: this system has no CA certificates\n"
    )


def status(url: str, context: ssl.SSLContext) -> int:
    connection = http.client.HTTPSConnection(
        url.removeprefix("https://"), timeout=30, context=context
    )
    try:
        return ask(connection, "/-/healthy")[0]
    finally:
        connection.close()


@pytest.mark.parametrize("suite", ["RSA_WITH_AES_256_GCM_SHA384", "RSA_WITH_AES_128_CBC_SHA"])
def test_cipher_suites_for_another_type_of_key_are_an_error(folder: Path, suite: str) -> None:
    only = f"cipher_suites: [TLS_ECDHE_{suite}], max_version: TLS12"
    (folder / "web.yml").write_text(f"{TLS}, {only}}}")
    config = read_config(folder / "web.yml").tls
    assert config
    with pytest.raises(ConfigError, match="no client could connect: no shared cipher"):
        make_context(config)
    (folder / "web.yml").write_text(f"{TLS}, {only.replace('_RSA_', '_ECDSA_')}}}")
    config = read_config(folder / "web.yml").tls
    assert config
    make_context(config)


def test_mail_addresses_and_uris_are_valid_sans() -> None:
    certificate = {"subjectAltName": (("email", "ops@example.org"), ("URI", "spiffe://x/y"))}
    assert is_allowed(certificate, ("spiffe://x/y",))
    assert is_allowed(certificate, ("nobody", "ops@example.org"))
    assert not is_allowed(certificate, ("example.org",))
    assert not is_allowed({}, ("example.org",))
    assert is_allowed({}, ())


def test_certificate_and_key_inline(folder: Path) -> None:
    def indented(name: str) -> str:
        return (folder / name).read_text().replace("\n", "\n    ")

    text = "tls_server_config:\n" + "".join(
        f"  {key}: |\n    {indented(f'server.{suffix}')}\n"
        for key, suffix in (("cert", "crt"), ("key", "key"))
    )
    with served(folder, text) as site:
        assert site.ask("/numbers", context=client())[0] == 200


def empty(folder: Path) -> None:
    (folder / "server.crt").write_text("")


def no_pem(folder: Path) -> None:
    (folder / "server.crt").write_text("no certificate\n")


def another_key(folder: Path) -> None:
    OTHER_CA.issue_cert("x").private_key_pem.write_to_path(folder / "server.key")


def no_key(folder: Path) -> None:
    (folder / "server.key").unlink()


def key_is_a_folder(folder: Path) -> None:
    no_key(folder)
    (folder / "server.key").mkdir()


def encrypted_key(folder: Path) -> None:
    (folder / "server.key").write_text(ENCRYPTED)


def no_ca(folder: Path) -> None:
    (folder / "ca.crt").unlink()


def ca_without_certificate(folder: Path) -> None:
    (folder / "ca.crt").write_text("nothing\n")


@pytest.mark.parametrize(
    ("spoil", "reported"),
    [
        (empty, "server.crt and .*/server.key: "),
        (no_pem, "server.crt and .*/server.key: "),
        (another_key, "the key does not match the certificate"),
        (no_key, "server.key: No such file or directory"),
        (key_is_a_folder, "server.key: Is a directory"),
        (encrypted_key, "the key is encrypted"),
        (no_ca, "ca.crt: No such file or directory"),
        (ca_without_certificate, "client CA .*/ca.crt: contains no certificate"),
    ],
)
def test_unusable_certificate_files_are_errors(
    folder: Path, spoil: Callable[[Path], None], reported: str
) -> None:
    (folder / "web.yml").write_text(MTLS + "}")
    config = read_config(folder / "web.yml").tls
    assert config
    spoil(folder)
    with pytest.raises(ConfigError, match=reported):
        make_context(config)


def test_more_curves_than_this_python_supports(folder: Path) -> None:
    (folder / "web.yml").write_text(TLS + ", curve_preferences: [X25519, CurveP256]}")
    config = read_config(folder / "web.yml").tls
    assert config
    if hasattr(ssl.SSLContext, "set_groups"):
        make_context(config)
    else:
        with pytest.raises(ConfigError, match="supports only one curve"):
            make_context(config)


ENCRYPTED = """-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAihkdP9Kd0jZQICCAAw
DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEELLHkFXts7m9WUINSq5M464EgZD2
8gK2uF11p6pkvah42RpqAgroP7/1YHWz0d+ON63So1rC4F6RiMXDxxFwzo3KdPO0
UB/OKeLGC8JPYl3S+/Hrb3nBknTCHseZm8Wbp6siic7V2YZ+l7+CgBjhia7air8F
sQLeMqwuE/dj1DcCrPmLTVb7hAr3IftOecJLvSptOSqAFJHwAoX6jsbq7TIMcv8=
-----END ENCRYPTED PRIVATE KEY-----
"""

# SPDX-License-Identifier: Apache-2.0
"""The web configuration file, case by case as exporter-toolkit documents its format."""

import re
from dataclasses import replace
from pathlib import Path
from textwrap import dedent

import pytest

from exporter.web.bucket import RateLimit
from exporter.web.config import WebConfig, read_config
from exporter.web.tls_config import CIPHERS, CURVES, IF_GIVEN, KEYS, REQUIRED, TLS13
from exporter.web.yaml_file import ConfigError

HASH = "$2y$10$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG"
TLS = "tls_server_config: {cert_file: server.crt, key_file: server.key"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def read(folder: Path, text: str) -> WebConfig:
    path = folder / "web.yml"
    path.write_text(dedent(text))
    return read_config(path)


def test_a_key_without_a_value_keeps_its_default(folder: Path) -> None:
    nothing = "".join(f", {key}:" for key in KEYS if key not in ("cert_file", "key_file"))
    tls, default = read(folder, TLS + nothing + "}").tls, read(folder, TLS + "}").tls
    assert tls and default
    assert tls == replace(default, source=tls.source)
    assert (
        read(folder, "http_server_config: {http2:, headers:}\nrate_limit: {burst:}") == WebConfig()
    )


@pytest.mark.parametrize("text", ["", "# nothing\n", "{}", "tls_server_config:\n", "---\n...\n"])
def test_an_empty_section_enables_nothing(folder: Path, text: str) -> None:
    assert read(folder, text) == WebConfig()


def test_everything(folder: Path) -> None:
    config = read(
        folder,
        f"""
        tls_server_config:
          cert_file: server.crt
          key_file: /elsewhere/server.key
          client_auth_type: RequireAndVerifyClientCert
          client_ca_file: ca.crt
          client_allowed_sans: [prometheus.example, "::1"]
          min_version: TLS12
          max_version: TLS13
          cipher_suites:
            - TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
            - TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256
          prefer_server_cipher_suites: false
          curve_preferences: [X25519]
        http_server_config:
          http2: false
          headers:
            X-Frame-Options: deny
            X-Content-Type-Options: nosniff
            Content-Security-Policy: "default-src 'none'"
            Strict-Transport-Security: max-age=31536000
            X-XSS-Protection:
        basic_auth_users:
          alice: {HASH}
          bob: {HASH}
        rate_limit:
          interval: 1s
          burst: 20
        """,
    )
    tls = config.tls
    assert tls
    assert (tls.cert, tls.key) == (folder / "server.crt", Path("/elsewhere/server.key"))
    assert (tls.client_ca, tls.client_auth) == (folder / "ca.crt", REQUIRED)
    assert tls.allowed_sans == ("prometheus.example", "::1")
    assert tls.ciphers == ("ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-CHACHA20-POLY1305")
    assert (tls.prefer_server_ciphers, tls.curves) == (False, ("X25519",))
    assert config.headers == (
        ("X-Frame-Options", "deny"),
        ("X-Content-Type-Options", "nosniff"),
        ("Content-Security-Policy", "default-src 'none'"),
        ("Strict-Transport-Security", "max-age=31536000"),
    )
    assert config.users == {"alice": HASH.encode(), "bob": HASH.encode()}
    assert config.rate_limit == RateLimit(1.0, 20)
    assert config.warnings == ()


def test_certificate_and_key_inline(folder: Path) -> None:
    config = read(folder, "tls_server_config: {cert: CERT, key: KEY}")
    assert config.tls
    assert (config.tls.cert, config.tls.key, config.tls.files) == ("CERT", "KEY", ())


def test_all_ciphers_and_curves_of_go_are_accepted(folder: Path) -> None:
    ciphers = read(folder, f"{TLS}, cipher_suites: [{', '.join(CIPHERS)}]}}").tls
    curves = read(folder, f"{TLS}, curve_preferences: [{', '.join(CURVES)}]}}").tls
    assert ciphers and len(ciphers.ciphers) == 10
    assert curves and curves.curves == ("prime256v1", "secp384r1", "secp521r1", "X25519")


@pytest.mark.parametrize(
    ("rest", "warning"),
    [
        (", cipher_suites: [TLS_AES_128_GCM_SHA256], min_version: TLS13}", "is ignored"),
        (f", client_auth_type: {IF_GIVEN}}}", "any CA of the system is accepted"),
        (f", client_auth_type: {REQUIRED}}}", "any CA of the system is accepted"),
        (
            f"}}\nbasic_auth_users: {{a: {HASH.replace('$10$', '$15$')}}}",
            "with cost 15, checking a passw",
        ),
        ("}\nhttp_server_config: {http2: true}", "HTTP/2 is not supported"),
    ],
)
def test_a_partly_supported_setting_is_a_warning(folder: Path, rest: str, warning: str) -> None:
    (reported,) = read(folder, TLS + rest).warnings
    assert warning in reported


def test_passwords_without_tls_are_a_warning(folder: Path) -> None:
    (reported,) = read(folder, f"basic_auth_users: {{alice: {HASH}}}").warnings
    assert "basic_auth_users: without tls_server_config, passwords are sent in clear" in reported


@pytest.mark.parametrize(
    ("rest", "expected"),
    [("", "NoClientCert"), (", client_auth_type: ''", "NoClientCert")]
    + [(f", client_auth_type: {name}", name) for name in (IF_GIVEN, REQUIRED)]
    + [
        (f", client_ca_file: ca.crt, client_auth_type: {name}", name)
        for name in (IF_GIVEN, REQUIRED)
    ],
)
def test_client_authentication(folder: Path, rest: str, expected: str) -> None:
    tls = read(folder, TLS + rest + "}").tls
    assert tls and tls.client_auth == expected


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1s", 1), ("500ms", 0.5), ("1m30s", 90), ("1.5h", 5400), ("250us", 250e-6), ("3ns", 3e-9)],
)
def test_durations(folder: Path, text: str, seconds: float) -> None:
    limit = read(folder, f"rate_limit: {{interval: {text}, burst: 1}}").rate_limit
    assert limit and limit.interval == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["0", "0s"])
def test_without_an_interval_there_is_no_limit(folder: Path, text: str) -> None:
    assert read(folder, f"rate_limit: {{interval: {text}, burst: 5}}").rate_limit is None


BAD = [
    # unknown, twice, misplaced
    ("tls_serverconfig: {}", "1: tls_serverconfig: unknown key (expected tls_server_config, "),
    (f"\n{TLS}, cert_fil: x}}", "2: tls_server_config.cert_fil: unknown key"),
    ("rate_limit: {}\nrate_limit: {}", "2: rate_limit: duplicate key"),
    (f"basic_auth_users:\n  a: {HASH}\n  a: {HASH}", "3: basic_auth_users.a: duplicate key"),
    ("http_server_config:\n  headers:\n    Server: x", "3: http_server_config.headers.Server: unk"),
    ("[]", "1: must be a mapping"),
    ("http_server_config: yes", "1: http_server_config: must be a mapping"),
    ("tls_server_config: {<<: {cert: x}}", "1: tls_server_config.<<: unknown key"),
    # invalid YAML
    ("a: [", "invalid YAML: expected the node content"),
    ("a: *b", "1: invalid YAML: found undefined alias"),
    ("a: b: c", "1: invalid YAML: mapping values are not allowed here"),
    ("a:\n\tb: 1", "2: invalid YAML: found character '\\t' that cannot start any token"),
    ("[" * 500, "invalid YAML: nested too deeply"),
    ("a: \x07", "invalid YAML: unacceptable character"),
    ("a: 1\n---\nb: 1", "invalid YAML: but found another document"),
    ("x" * 2_000_000, "expected at most 1 MiB"),
    # TLS
    ("tls_server_config: {key_file: server.key}", "cert or cert_file is missing"),
    ("tls_server_config: {cert_file: server.crt}", "key or key_file is missing"),
    ("tls_server_config: {cert_file: server.crt, key_file: ''}", "key or key_file is missing"),
    ("tls_server_config: {client_auth_type: NoClientCert}", "cert or cert_file is missing"),
    ("tls_server_config: {min_version: TLS13}", "TLS would not be enabled"),
    (f"{TLS}, cert: x}}", "tls_server_config.cert: conflicts with cert_file"),
    (
        f"{TLS}, client_auth_type: Wrong}}",
        "unknown type 'Wrong' (expected NoClientCert, VerifyClientCertIfGiv",
    ),
    (
        f"{TLS}, client_auth_type: RequestClientCert}}",
        "does not verify certificates (expected Requ",
    ),
    (f"{TLS}, client_auth_type: RequireAnyClientCert}}", "does not verify certificates"),
    (
        f"{TLS}, client_ca_file: ca.crt}}",
        "a client CA needs client_auth_type: RequireAndVerifyClientC",
    ),
    (f"{TLS}, client_allowed_sans: [x]}}", "client_allowed_sans: needs client_auth_type: Require"),
    (
        f"{TLS}, client_ca_file: x, client_auth_type: {IF_GIVEN}, client_allowed_sans: [x]}}",
        "client_allowed_sans: needs client_auth_type: RequireAndVerifyClientCert",
    ),
    (
        f"{TLS}, client_auth_type: {REQUIRED}, client_allowed_sans: []}}",
        "every client would be rejected",
    ),
    (f"{TLS}, min_version: TLS11}}", "TLS11 is insecure (expected TLS12"),
    (f"{TLS}, max_version: TLS10}}", "max_version: TLS10 is insecure"),
    (f"{TLS}, min_version: TLS111}}", "unknown version 'TLS111' (expected TLS12 or TLS13)"),
    (
        f"{TLS}, min_version: TLS13, max_version: TLS12}}",
        "min_version: must not be above max_version",
    ),
    (
        f"{TLS}, cipher_suites: [TLS_RSA_WITH_RC4_128_SHA]}}",
        "unknown or insecure cipher 'TLS_RSA_WI",
    ),
    (
        f"{TLS}, cipher_suites: [TLS_AES_128_GCM_SHA256]}}",
        "lists no TLS 1.2 suite (expected one, or min_version",
    ),
    (f"{TLS}, cipher_suites: yes}}", "cipher_suites: must be a list"),
    (f"{TLS}, curve_preferences: [CurveP255]}}", "unknown curve 'CurveP255' (expected CurveP256, "),
    (f"{TLS}, curve_preferences: [[X25519]]}}", "curve_preferences: must be a string"),
    (f"{TLS}, prefer_server_cipher_suites: maybe}}", "must be true or false"),
    # HTTP
    ("http_server_config: {http2: 2}", "http2: must be true or false"),
    ("http_server_config: {headers: {X-Frame-Options: allow}}", "expected deny, sameorigin"),
    ("http_server_config: {headers: {X-Content-Type-Options: sniff}}", "expected nosniff"),
    ('http_server_config: {headers: {X-XSS-Protection: "a\\r\\nb"}}', "expected printable ASCII"),
    ('http_server_config: {headers: {X-XSS-Protection: "\\u00e9"}}', "expected printable ASCII"),
    # users
    ("basic_auth_users: {alice: secret}", "basic_auth_users.alice: is not a bcrypt hash"),
    (
        f"basic_auth_users: {{alice: {HASH[:-1]}}}",
        "is not a bcrypt hash (create one with: htpasswd",
    ),
    (f"basic_auth_users: {{alice: {HASH.replace('$10$', '$03$')}}}", "of cost 3 (expected 4 to 20"),
    (
        f"basic_auth_users: {{alice: {HASH.replace('$10$', '$31$')}}}",
        "of cost 31 (expected 4 to 20",
    ),
    (
        f"basic_auth_users: {{alice: {HASH.replace('$10$', '$99$')}}}",
        "of cost 99 (expected 4 to 20",
    ),
    (f"basic_auth_users: {{alice: {HASH.replace('$2y$', '$2$')}}}", "alice: is a $2$ hash"),
    (f"basic_auth_users: {{alice: {HASH[:-1]}H}}", "is not a bcrypt hash"),  # bits beyond the hash
    ('basic_auth_users: {"\\ud800": x}', "invalid user name (expected valid UTF-8)"),
    (f"basic_auth_users: {{'': {HASH}}}", "(expected at least 1 character, no ':')"),
    (f"basic_auth_users: {{'a:b': {HASH}}}", "(expected at least 1 character, no ':')"),
    ("basic_auth_users: [alice]", "basic_auth_users: must be a mapping"),
    # rate limit
    ("rate_limit: {interval: 1}", "invalid duration '1' (expected 1s, 500ms, 1m30s)"),
    ("rate_limit: {interval: -1s, burst: 1}", "invalid duration '-1s'"),
    ("rate_limit: {interval: 1 s, burst: 1}", "invalid duration '1 s'"),
    (f"rate_limit: {{interval: {'9' * 400}h, burst: 1}}", "expected less than 292 years"),
    ("rate_limit: {interval: 1s}", "invalid burst 0 (expected at least 1)"),
    ("rate_limit: {interval: 1s, burst: -2}", "burst: invalid integer '-2'"),
    ("rate_limit: {interval: 1s, burst: 99999999999}", "burst: invalid integer"),
]


@pytest.mark.parametrize(("text", "reported"), BAD, ids=[reported[:40] for _, reported in BAD])
def test_an_error_is_one_line_with_file_line_and_key(
    folder: Path, text: str, reported: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        read(folder, text)
    message = str(caught.value)
    assert reported in message
    assert re.match(rf"{re.escape(str(folder / 'web.yml'))}(:\d+)?: ", message)
    assert "\n" not in message


def test_tls13_only(folder: Path) -> None:
    tls = read(folder, TLS + ", min_version: TLS13}").tls
    assert tls and tls.min_version == TLS13


def test_a_file_that_is_not_there(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.yml: No such file or directory"):
        read_config(folder / "gone.yml")


def test_bytes_that_are_not_utf8(folder: Path) -> None:
    (folder / "web.yml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="invalid YAML"):
        read_config(folder / "web.yml")

# SPDX-License-Identifier: Apache-2.0
"""Mutated web configurations: each is read, or rejected in one line."""

from pathlib import Path

import pytest

from exporter.web.config import read_config
from exporter.web.yaml_file import ConfigError
from tests.soak.mutate import mutations

pytestmark = pytest.mark.soak

INPUTS = 8_000

GOOD = (
    b"""tls_server_config:
  cert_file: server.crt
  key_file: server.key
  client_auth_type: RequireAndVerifyClientCert
  client_ca_file: ca.crt
  client_allowed_sans: [a.example]
  cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384]
  curve_preferences: [X25519]
""",
    b"http_server_config: {http2: false, headers: {X-Frame-Options: deny}}\n",
    b"basic_auth_users:\n  a: $2y$10$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG\n",
    b"rate_limit:\n  interval: 1m30s\n  burst: 20\n",
)
WORDS = (
    *(b"\n", b": ", b"- ", b"{", b"}", b"[", b"]", b"&a ", b"*a", b"!!python/name:os ", b"<<: "),
    *(b"|\n", b">", b"'", b'"', b"#", b"\t", b"\0", b"\xff", b"\xef\xbb\xbf", b"---\n", b"%YAML "),
    *(b"true", b"null", b"~", b"? ", b"[" * 500, b"1h", b"\xe2\x80\xa8", b"\\u0000"),
)


def is_valid(path: Path, data: bytes) -> bool:
    """Whether the configuration is read, as it should be; if not, the error must be one line."""
    path.write_bytes(data)
    try:
        config = read_config(path)
    except ConfigError as error:
        message = str(error)
        assert message.startswith(f"{path}"), data
        assert len(message.splitlines()) == 1, data
        return False
    assert config.rate_limit is None or config.rate_limit.interval > 0
    assert all(len(hashed) == 60 for hashed in config.users.values()), data
    return True


def test_web_configurations(tmp_path: Path) -> None:
    path = tmp_path / "web.yml"
    good = sum(is_valid(path, data) for data in mutations(509, GOOD, INPUTS, WORDS))
    assert INPUTS / 100 < good < INPUTS / 2

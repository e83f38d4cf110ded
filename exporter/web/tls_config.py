# SPDX-License-Identifier: Apache-2.0
"""``tls_server_config`` of the web configuration file: parsing and validation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from exporter.web.yaml_file import Value

NONE, IF_GIVEN, REQUIRED = "NoClientCert", "VerifyClientCertIfGiven", "RequireAndVerifyClientCert"
_UNVERIFIED = ("RequestClientCert", "RequireAnyClientCert", "RequireClientCert")

TLS12, TLS13 = "TLS12", "TLS13"
_OLD_VERSIONS = ("TLS10", "TLS11")

CURVES: Mapping[str, str] = {
    "CurveP256": "prime256v1",
    "CurveP384": "secp384r1",
    "CurveP521": "secp521r1",
    "X25519": "X25519",
}
"""Go's names (crypto/tls.CurveID) and OpenSSL's."""

CIPHERS: Mapping[str, str] = {
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
}
"""Go's secure cipher suites of TLS 1.2 (crypto/tls.CipherSuites), and OpenSSL's names."""

_CIPHERS_OF_TLS13 = (
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
)

KEYS = (
    "cert",
    "key",
    "client_ca",
    "cert_file",
    "key_file",
    "client_auth_type",
    "client_ca_file",
    "client_allowed_sans",
    "min_version",
    "max_version",
    "cipher_suites",
    "prefer_server_cipher_suites",
    "curve_preferences",
)

Pem = Path | str
"""A file, or its content."""


@dataclass(frozen=True)
class TlsConfig:
    """Settings of the file; ``source`` is the section, for error messages."""

    source: Value
    cert: Pem
    key: Pem
    client_ca: Pem | None = None
    """None: the system's CAs, if ``client_auth`` verifies certificates."""
    client_auth: str = NONE
    allowed_sans: tuple[str, ...] = ()
    min_version: str = TLS12
    max_version: str = TLS13
    ciphers: tuple[str, ...] = ()
    """OpenSSL's names, for TLS 1.2; empty: OpenSSL's choice."""
    prefer_server_ciphers: bool = True
    curves: tuple[str, ...] = ()
    """OpenSSL's names; empty: OpenSSL's choice."""

    @property
    def files(self) -> tuple[Path, ...]:
        """Files named by the settings."""
        return tuple(pem for pem in (self.cert, self.key, self.client_ca) if isinstance(pem, Path))


def read_tls(section: Value, warnings: list[str]) -> TlsConfig | None:
    """Parse the section; return None if it does not enable TLS. Raises ``ConfigError``."""
    found = section.section(*KEYS)
    switches = ("cert", "key", "cert_file", "key_file", "client_ca", "client_ca_file")
    if not any(found[name].text() for name in (*switches, "client_auth_type") if name in found):
        if found:
            raise section.wrong("cert or cert_file is missing: TLS would not be enabled")
        return None
    cert, key = _pem(found, "cert"), _pem(found, "key")
    if not cert:
        raise section.wrong("cert or cert_file is missing")
    if not key:
        raise section.wrong("key or key_file is missing")
    low, high = _version(found, "min_version", TLS12), _version(found, "max_version", TLS13)
    if (low, high) == (TLS13, TLS12):
        raise found["min_version"].wrong("must not be above max_version")
    return TlsConfig(
        source=section,
        cert=cert,
        key=key,
        client_ca=_pem(found, "client_ca"),
        client_auth=_client_auth(section, found, warnings),
        allowed_sans=tuple(_texts(found, "client_allowed_sans")),
        min_version=low,
        max_version=high,
        ciphers=tuple(_ciphers(found, low, warnings)),
        prefer_server_ciphers=_boolean(found, "prefer_server_cipher_suites", default=True),
        curves=tuple(_curves(found)),
    )


def _pem(found: Mapping[str, Value], name: str) -> Pem | None:
    inline = found[name].text() if name in found else ""
    file = found.get(f"{name}_file")
    path = file.text() if file else ""
    if inline and path:
        raise found[name].wrong(f"conflicts with {name}_file (expected one of them)")
    # A relative path is relative to the configuration file.
    return file.path.parent / path if file and path else inline or None


def _client_auth(section: Value, found: Mapping[str, Value], warnings: list[str]) -> str:
    value = found.get("client_auth_type")
    chosen = (value.text() if value else "") or NONE
    if value and chosen in _UNVERIFIED:
        raise value.wrong(f"{chosen} does not verify certificates (expected {REQUIRED})")
    if value and chosen not in (NONE, IF_GIVEN, REQUIRED):
        raise value.wrong(f"unknown type {chosen!r} (expected {NONE}, {IF_GIVEN}, {REQUIRED})")
    has_ca = _pem(found, "client_ca") is not None
    if has_ca and chosen == NONE:
        raise section.wrong(f"a client CA needs client_auth_type: {REQUIRED}")
    if value and not has_ca and chosen != NONE:
        warnings.append(value.note("without client_ca_file, any CA of the system is accepted"))
    sans = found.get("client_allowed_sans")
    if sans and chosen != REQUIRED:
        raise sans.wrong(f"needs client_auth_type: {REQUIRED}")
    if sans and not any(True for _ in sans.items()):
        raise sans.wrong("is empty: every client would be rejected (expected at least one name)")
    return chosen


def _version(found: Mapping[str, Value], name: str, default: str) -> str:
    if name not in found:
        return default
    chosen = found[name].text()
    if chosen in _OLD_VERSIONS:
        raise found[name].wrong(f"{chosen} is insecure (expected {TLS12} or {TLS13})")
    if chosen not in (TLS12, TLS13):
        raise found[name].wrong(f"unknown version {chosen!r} (expected {TLS12} or {TLS13})")
    return chosen


def _ciphers(found: Mapping[str, Value], low: str, warnings: list[str]) -> Sequence[str]:
    if "cipher_suites" not in found:
        return ()
    chosen = []
    for item in found["cipher_suites"].items():
        name = item.text()
        if name in _CIPHERS_OF_TLS13:
            warnings.append(item.note(f"{name} is ignored: all TLS 1.3 suites are always enabled"))
        elif name in CIPHERS:
            chosen.append(CIPHERS[name])
        else:
            raise item.wrong(f"unknown or insecure cipher {name!r} (expected {', '.join(CIPHERS)})")
    if not chosen and low == TLS12 and any(True for _ in found["cipher_suites"].items()):
        raise found["cipher_suites"].wrong(
            f"lists no TLS 1.2 suite (expected one, or min_version: {TLS13})"
        )
    return chosen


def _curves(found: Mapping[str, Value]) -> Sequence[str]:
    if "curve_preferences" not in found:
        return ()
    chosen = []
    for item in found["curve_preferences"].items():
        if item.text() not in CURVES:
            raise item.wrong(f"unknown curve {item.text()!r} (expected {', '.join(CURVES)})")
        chosen.append(CURVES[item.text()])
    return chosen


def _texts(found: Mapping[str, Value], name: str) -> Sequence[str]:
    return [item.text() for item in found[name].items()] if name in found else ()


def _boolean(found: Mapping[str, Value], name: str, *, default: bool) -> bool:
    return found[name].boolean() if name in found else default

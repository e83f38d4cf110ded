# SPDX-License-Identifier: Apache-2.0
"""From ``tls_server_config`` to what Python's ssl does, and who of the clients may come in."""

import os
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Any, NoReturn

from exporter.web.tls_config import IF_GIVEN, NONE, REQUIRED, TLS12, TLS13, Pem, TlsConfig

_VERSIONS = {TLS12: ssl.TLSVersion.TLSv1_2, TLS13: ssl.TLSVersion.TLSv1_3}
_VERIFY = {NONE: ssl.CERT_NONE, IF_GIVEN: ssl.CERT_OPTIONAL, REQUIRED: ssl.CERT_REQUIRED}
_HTTP = "http/1.1"


def make_context(config: TlsConfig) -> ssl.SSLContext:
    """Read certificates and keys. Raises ``ConfigError``."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[config.min_version]
    context.maximum_version = _VERSIONS[config.max_version]
    context.set_alpn_protocols([_HTTP])
    context.options |= ssl.OP_NO_RENEGOTIATION
    if config.prefer_server_ciphers:
        context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    else:
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    _load_certificate(context, config)
    _load_client_ca(context, config)
    _choose_algorithms(context, config)
    return context


def is_allowed(certificate: Mapping[str, Any], allowed_sans: tuple[str, ...]) -> bool:
    """Whether one of the certificate's alternative names (SSLSocket.getpeercert) is allowed."""
    if not allowed_sans:
        return True
    names = {_name(kind, name) for kind, name in certificate.get("subjectAltName", ())}
    return not names.isdisjoint(allowed_sans)


def _name(kind: str, name: str) -> str:
    """A name as it is written in the file; OpenSSL spells IPv6 addresses in a way of its own."""
    return str(ip_address(name.strip())) if kind == "IP Address" else name


def _load_certificate(context: ssl.SSLContext, config: TlsConfig) -> None:
    def refuse() -> NoReturn:
        raise config.source.wrong("the key is encrypted, and there is no one to ask for a password")

    with _file(config, config.cert) as cert, _file(config, config.key) as key:
        try:
            context.load_cert_chain(cert, key, password=refuse)
        except OSError as error:
            reason = f"{_called(config.cert)} and {_called(config.key)}: {_reason(error)}"
            raise config.source.wrong(reason) from error


def _load_client_ca(context: ssl.SSLContext, config: TlsConfig) -> None:
    context.check_hostname = False
    context.verify_mode = _VERIFY[config.client_auth]
    if config.client_ca is None:
        return
    with _file(config, config.client_ca) as path:
        try:
            context.load_verify_locations(path)
        except OSError as error:
            reason = f"client CA {_called(config.client_ca)}: {_reason(error)}"
            raise config.source.wrong(reason) from error
    if not context.get_ca_certs():
        raise config.source.wrong(f"client CA {_called(config.client_ca)}: no CA's certificate")


def _choose_algorithms(context: ssl.SSLContext, config: TlsConfig) -> None:
    try:
        if config.ciphers:
            context.set_ciphers(":".join(config.ciphers))
        if len(config.curves) == 1:
            context.set_ecdh_curve(config.curves[0])
        elif config.curves:
            _set_groups(context, config)
    except (ssl.SSLError, ValueError) as error:
        raise config.source.wrong(f"OpenSSL refuses it: {error}") from error


def _set_groups(context: ssl.SSLContext, config: TlsConfig) -> None:
    set_groups = getattr(context, "set_groups", None)  # Python 3.15
    if not set_groups:
        raise config.source.wrong("curve_preferences: this Python's ssl can be told one curve only")
    set_groups(":".join(config.curves))


@contextmanager
def _file(config: TlsConfig, pem: Pem) -> Iterator[str]:
    """The path of a PEM; content that the file has inline gets one in memory, as ssl needs one."""
    if isinstance(pem, Path):
        try:
            pem.open("rb").close()
        except OSError as error:
            raise config.source.wrong(f"{pem}: {error.strerror or error}") from error
        yield str(pem)
        return
    fd = os.memfd_create("pem")
    try:
        os.write(fd, pem.encode())
        yield f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)


def _called(pem: Pem) -> str:
    return str(pem) if isinstance(pem, Path) else "(inline)"


def _reason(error: OSError) -> str:
    """What OpenSSL means, in words; its own are names of its sources."""
    words = {
        "NO_CERTIFICATE_OR_CRL_FOUND": "no certificate in it",
        "NO_START_LINE": "not PEM",
        "PEM_LIB": "not PEM, or certificate without its key",
        "KEY_VALUES_MISMATCH": "the key is not the certificate's",
        "KEY_TYPE_MISMATCH": "the key is not the certificate's",
        "EE_KEY_TOO_SMALL": "the key is too short to be safe",
    }
    name = getattr(error, "reason", None) or ""
    return words.get(name, name.lower().replace("_", " ") or str(error))

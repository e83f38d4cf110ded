# SPDX-License-Identifier: Apache-2.0
"""TLS contexts made from ``tls_server_config``, and the check of client certificates."""

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
    """Make the context; reads certificates and keys. Raises ``ConfigError``."""
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
    _choose_algorithms(context, config)
    _try_handshake(context, config)
    _load_client_ca(context, config)
    return context


def is_allowed(certificate: Mapping[str, Any], allowed_sans: tuple[str, ...]) -> bool:
    """Tell whether a subject alternative name of the certificate (getpeercert) is allowed."""
    if not allowed_sans:
        return True
    names = {_normalized(name) for _, name in certificate.get("subjectAltName", ())}
    return not names.isdisjoint(map(_normalized, allowed_sans))


def _normalized(name: str) -> str:
    """Normalize an IP address, which OpenSSL spells differently for IPv6; keep other names."""
    try:
        return str(ip_address(name.strip()))
    except ValueError:
        return name


def _load_certificate(context: ssl.SSLContext, config: TlsConfig) -> None:
    def refuse() -> NoReturn:
        raise config.source.wrong("the key is encrypted (expected a key without a passphrase)")

    with _file(config, config.cert) as cert, _file(config, config.key) as key:
        try:
            context.load_cert_chain(cert, key, password=refuse)
        except OSError as error:
            reason = f"{_label(config.cert)} and {_label(config.key)}: {_reason(error)}"
            raise config.source.wrong(reason) from error


def _load_client_ca(context: ssl.SSLContext, config: TlsConfig) -> None:
    context.check_hostname = False
    context.verify_mode = _VERIFY[config.client_auth]
    if config.client_ca is None:
        _load_system_cas(context, config)
        return
    with _file(config, config.client_ca) as path:
        try:
            context.load_verify_locations(path)
        except OSError as error:
            reason = f"client CA {_label(config.client_ca)}: {_reason(error)}"
            raise config.source.wrong(reason) from error
    if not context.cert_store_stats()["x509"]:
        raise config.source.wrong(f"client CA {_label(config.client_ca)}: contains no certificate")


def _load_system_cas(context: ssl.SSLContext, config: TlsConfig) -> None:
    """Verify against the system's CAs, as Go does if no CA is given."""
    if config.client_auth == NONE:
        return
    context.set_default_verify_paths()
    if config.client_auth == REQUIRED and not (
        context.cert_store_stats()["x509"] or any(map(_may_have_files, _system_folders()))
    ):
        raise config.source.wrong(
            f"{REQUIRED} needs client_ca_file: this system has no CA certificates"
        )


def _system_folders() -> Iterator[Path]:
    """Yield folders of CA certificates, which OpenSSL reads when a client connects."""
    paths = ssl.get_default_verify_paths()
    yield from map(Path, os.environ.get(paths.openssl_capath_env, paths.openssl_capath).split(":"))


def _may_have_files(folder: Path) -> bool:
    try:
        return any(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True


def _try_handshake(context: ssl.SSLContext, config: TlsConfig) -> None:
    """Connect a client that accepts all algorithms, in memory.

    OpenSSL accepts settings that no client can use, such as cipher suites for another type of key.
    """
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.set_ciphers("ALL:@SECLEVEL=0")
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server),
        context.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(_MAX_FLIGHTS):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLError as error:
                raise config.source.wrong(f"no client could connect: {_reason(error)}") from error
    if ends[1].version() is None:
        raise config.source.wrong("no client could connect")


_MAX_FLIGHTS = 5
"""Flights of messages from one side; a handshake has at most three."""


def _choose_algorithms(context: ssl.SSLContext, config: TlsConfig) -> None:
    try:
        if config.ciphers:
            context.set_ciphers(":".join(config.ciphers))
        if len(config.curves) == 1:
            context.set_ecdh_curve(config.curves[0])
        elif config.curves:
            _set_groups(context, config)
    except (ssl.SSLError, ValueError) as error:
        raise config.source.wrong(f"rejected by OpenSSL: {error}") from error


def _set_groups(context: ssl.SSLContext, config: TlsConfig) -> None:
    set_groups = getattr(context, "set_groups", None)  # Python 3.15
    if not set_groups:
        raise config.source.wrong("curve_preferences: this Python supports only one curve")
    set_groups(":".join(config.curves))


@contextmanager
def _file(config: TlsConfig, pem: Pem) -> Iterator[str]:
    """Yield the path of a PEM, which ssl requires; inline content is put into a memfd."""
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


def _label(pem: Pem) -> str:
    return str(pem) if isinstance(pem, Path) else "(inline)"


def _reason(error: OSError) -> str:
    """Translate an OpenSSL reason code into plain words."""
    words = {
        "NO_CERTIFICATE_OR_CRL_FOUND": "contains no certificate",
        "NO_START_LINE": "not PEM",
        "PEM_LIB": "not PEM, or certificate without its key",
        "KEY_VALUES_MISMATCH": "the key does not match the certificate",
        "KEY_TYPE_MISMATCH": "the key does not match the certificate",
        "EE_KEY_TOO_SMALL": "the key is too short",
    }
    name = getattr(error, "reason", None) or ""
    return words.get(name, name.lower().replace("_", " ") or str(error))

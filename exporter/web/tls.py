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
    _choose_algorithms(context, config)
    _try_handshake(context, config)
    _load_client_ca(context, config)
    return context


def is_allowed(certificate: Mapping[str, Any], allowed_sans: tuple[str, ...]) -> bool:
    """Whether one of the certificate's alternative names (SSLSocket.getpeercert) is allowed."""
    if not allowed_sans:
        return True
    names = {_same(name) for _, name in certificate.get("subjectAltName", ())}
    return not names.isdisjoint(map(_same, allowed_sans))


def _same(name: str) -> str:
    """One spelling of an IP address (OpenSSL has its own for IPv6); any other name as it is."""
    try:
        return str(ip_address(name.strip()))
    except ValueError:
        return name


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
        _load_system_cas(context, config)
        return
    with _file(config, config.client_ca) as path:
        try:
            context.load_verify_locations(path)
        except OSError as error:
            reason = f"client CA {_called(config.client_ca)}: {_reason(error)}"
            raise config.source.wrong(reason) from error
    if not context.cert_store_stats()["x509"]:
        raise config.source.wrong(f"client CA {_called(config.client_ca)}: no certificate in it")


def _load_system_cas(context: ssl.SSLContext, config: TlsConfig) -> None:
    """Verify against the CAs that the system trusts, as Go does where no CA is named."""
    if config.client_auth == NONE:
        return
    context.set_default_verify_paths()
    if config.client_auth == REQUIRED and not (
        context.cert_store_stats()["x509"] or any(map(_may_have_files, _system_folders()))
    ):
        raise config.source.wrong(
            f"{REQUIRED} needs client_ca_file here: this system has no CA certificates"
        )


def _system_folders() -> Iterator[Path]:
    """Folders of CA certificates, which OpenSSL reads when a client comes."""
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
    """Let a client connect that takes everything, in memory.

    OpenSSL accepts what no client can use, as suites for another kind of key than there is.
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
    for _ in range(_MOST_FLIGHTS):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLError as error:
                raise config.source.wrong(f"no client could connect: {_reason(error)}") from error
    if ends[1].version() is None:
        raise config.source.wrong("no client could connect")


_MOST_FLIGHTS = 5
"""Of messages from one side; a handshake has three at most."""


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

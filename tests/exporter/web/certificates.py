# SPDX-License-Identifier: Apache-2.0
"""A CA, a server's certificate and clients' certificates, as files in a folder."""

import ssl
from pathlib import Path

import trustme

WEB_CONFIG = "tls_server_config: {cert_file: server.crt, key_file: server.key}\n"
"""A web configuration, in the same folder, with what ``write_server`` writes."""

CA = trustme.CA()
OTHER_CA = trustme.CA()


def write_server(folder: Path, name: str = "127.0.0.1") -> trustme.LeafCert:
    """Write server.crt, server.key and ca.crt."""
    certificate = CA.issue_cert(name)
    certificate.cert_chain_pems[0].write_to_path(folder / "server.crt")
    certificate.private_key_pem.write_to_path(folder / "server.key")
    CA.cert_pem.write_to_path(folder / "ca.crt")
    return certificate


def client(certificate: trustme.LeafCert | None = None) -> ssl.SSLContext:
    """A client that trusts the CA, with a certificate or without."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # faster than loading the system's CAs
    CA.configure_trust(context)
    if certificate:
        certificate.configure_cert(context)
    return context

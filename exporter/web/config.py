# SPDX-License-Identifier: Apache-2.0
"""The web configuration file: exporter-toolkit's format (its docs/web-configuration.md).

A setting that this exporter can't implement is an error or one of ``warnings``; none is silently
ignored.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from exporter.web import yaml_file
from exporter.web.auth import SLOW_COST, cost_of
from exporter.web.bucket import RateLimit
from exporter.web.tls_config import TlsConfig, read_tls
from exporter.web.yaml_file import Value

_HEADERS: Mapping[str, tuple[str, ...]] = {
    "Content-Security-Policy": (),
    "X-Frame-Options": ("deny", "sameorigin"),
    "X-Content-Type-Options": ("nosniff",),
    "X-XSS-Protection": (),
    "Strict-Transport-Security": (),
}
"""Headers that may be set, and their possible values; empty: any value."""

_UNITS: Mapping[str, float] = {
    "ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0
}  # fmt: skip


_MAX_SECONDS = 2**63 / 1e9
"""Limit of Go's durations, in seconds."""


@dataclass(frozen=True)
class WebConfig:
    """Settings of the file, or the defaults without a file."""

    tls: TlsConfig | None = None
    headers: tuple[tuple[str, str], ...] = ()
    users: Mapping[str, bytes] = field(default_factory=dict)
    """bcrypt hashes by name; empty: no authentication."""
    rate_limit: RateLimit | None = None
    warnings: tuple[str, ...] = ()


def read_config(path: Path) -> WebConfig:
    """Read the file, but no file that it names. Raises ``ConfigError``."""
    top = yaml_file.read(path).section(
        "tls_server_config", "http_server_config", "basic_auth_users", "rate_limit"
    )
    warnings: list[str] = []
    tls = read_tls(top["tls_server_config"], warnings) if "tls_server_config" in top else None
    headers = (
        tuple(_http(top["http_server_config"], warnings)) if "http_server_config" in top else ()
    )
    users = dict(_users(top["basic_auth_users"], warnings)) if "basic_auth_users" in top else {}
    if users and not tls:
        warnings.append(
            top["basic_auth_users"].note("without tls_server_config, passwords are sent in clear")
        )
    rate_limit = _rate_limit(top["rate_limit"]) if "rate_limit" in top else None
    return WebConfig(tls, headers, users, rate_limit, tuple(warnings))


def _http(section: Value, warnings: list[str]) -> Iterator[tuple[str, str]]:
    found = section.section("http2", "headers")
    if "http2" in found and found["http2"].boolean():
        warnings.append(found["http2"].note("HTTP/2 is not supported; clients use HTTP/1.1"))
    if "headers" not in found:
        return
    for name, value in found["headers"].section(*_HEADERS).items():
        text = value.text()
        if not text:
            continue
        if _HEADERS[name] and text not in _HEADERS[name]:
            raise value.wrong(f"invalid value {text!r} (expected {', '.join(_HEADERS[name])})")
        if not re.fullmatch(r"[!-~](?:[ \t!-~]*[!-~])?", text):
            raise value.wrong(f"invalid header value {text!r} (expected printable ASCII)")
        yield name, text


def _users(section: Value, warnings: list[str]) -> Iterator[tuple[str, bytes]]:
    for name, value in section.mapping().items():
        if not name or ":" in name:
            raise value.wrong(f"invalid user name {name!r} (expected at least 1 character, no ':')")
        try:
            name.encode()
            cost = cost_of(value.text())
        except UnicodeEncodeError:
            raise value.wrong("invalid user name (expected valid UTF-8)") from None
        except ValueError as error:
            raise value.wrong(f"{error} (create one with: htpasswd -nBC 10 NAME)") from error
        if cost >= SLOW_COST:
            text = f"with cost {cost}, checking a password takes seconds or minutes"
            warnings.append(value.note(text))
        yield name, value.text().encode()


def _rate_limit(section: Value) -> RateLimit | None:
    found = section.section("interval", "burst")
    interval = _duration(found["interval"]) if "interval" in found else 0.0
    burst = found["burst"].integer() if "burst" in found else 0
    if not interval:
        return None
    if not burst:
        raise section.wrong("invalid burst 0 (expected at least 1): every request would get 429")
    return RateLimit(interval, burst)


def _duration(value: Value) -> float:
    """Parse a duration in Go's notation, ``1s``, ``500ms``, ``1m30s`` or 0, as seconds."""
    text = value.text()
    if text == "0":
        return 0.0
    parts = re.findall(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise value.wrong(f"invalid duration {text!r} (expected 1s, 500ms, 1m30s)")
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if seconds >= _MAX_SECONDS:
        raise value.wrong(f"invalid duration {text!r} (expected less than 292 years)")
    return seconds

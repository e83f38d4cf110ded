# SPDX-License-Identifier: Apache-2.0
"""The web configuration that is in force now, read again when one of its files changes."""

import logging
import ssl
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from exporter.web.auth import Users
from exporter.web.bucket import TokenBucket
from exporter.web.config import WebConfig, read_config
from exporter.web.tls import make_context
from exporter.web.yaml_file import ConfigError

log = logging.getLogger("hvoscope")

_Signature = tuple[tuple[int, int, int, int] | None, ...]


@dataclass(frozen=True)
class Rules:
    """What is in force."""

    config: WebConfig
    context: ssl.SSLContext | None
    users: Users
    bucket: TokenBucket | None

    @property
    def allowed_sans(self) -> tuple[str, ...]:
        """Names of clients that may come in; none: any whose certificate is good."""
        return self.config.tls.allowed_sans if self.config.tls else ()

    @property
    def scheme(self) -> str:
        """http or https."""
        return "https" if self.context else "http"


class WebConfigFile:
    """The rules of a file, or without one: plain HTTP for everyone.

    A changed file that is broken is logged once, and the old rules stay.
    """

    def __init__(self, path: Path | None, clock: Callable[[], float]) -> None:
        """Read the file and all that it names. Raises ``ConfigError``."""
        self._path = path
        self._clock = clock
        self._files: tuple[Path, ...] = (path,) if path else ()
        self._signature = _signature(self._files)
        config = read_config(path) if path else WebConfig()
        self._rules = self._follow(config, None)

    def current(self) -> Rules:
        """The rules of now; looks whether a file has changed."""
        if self._path and _signature(self._files) != self._signature:
            self.reload()
        return self._rules

    def reload(self) -> None:
        """Read it again, changed or not."""
        if not self._path:
            return
        self._signature = _signature(self._files)
        try:
            self._rules = self._follow(read_config(self._path), self._rules)
        except ConfigError as error:
            log.error("the web configuration in force stays, as the new one is broken: %s", error)
        else:
            log.info("web configuration read again: %s", self._path)

    def _follow(self, config: WebConfig, old: Rules | None) -> Rules:
        if self._path:
            self._files = (self._path, *(config.tls.files if config.tls else ()))
            self._signature = _signature(self._files)
        context = make_context(config.tls) if config.tls else None
        for warning in config.warnings:
            log.warning("%s", warning)
        return Rules(config, context, Users(config.users), self._bucket(config, old))

    def _bucket(self, config: WebConfig, old: Rules | None) -> TokenBucket | None:
        """The old one goes on as long as its limit is the same: reading again is no refill."""
        if not config.rate_limit:
            return None
        if old and old.bucket and old.bucket.limit == config.rate_limit:
            return old.bucket
        return TokenBucket(config.rate_limit, self._clock)


def _signature(files: Iterable[Path]) -> _Signature:
    """Changes whenever a file is written, replaced, or gone. No order of times: clocks step."""
    return tuple(map(_one_signature, files))


def _one_signature(file: Path) -> tuple[int, int, int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns

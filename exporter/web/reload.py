# SPDX-License-Identifier: Apache-2.0
"""The active web configuration, reloaded when one of its files changes."""

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
class ActiveConfig:
    """A web configuration in effect, with the objects made from it."""

    config: WebConfig
    context: ssl.SSLContext | None
    users: Users
    bucket: TokenBucket | None

    @property
    def allowed_sans(self) -> tuple[str, ...]:
        """Permitted names in client certificates; empty: any valid certificate."""
        return self.config.tls.allowed_sans if self.config.tls else ()

    @property
    def scheme(self) -> str:
        """The URL scheme, http or https."""
        return "https" if self.context else "http"


class WebConfigFile:
    """The configuration of a file; without a file, plain HTTP without authentication.

    If a changed file is invalid, it is logged once and the previous configuration stays active.
    """

    def __init__(self, path: Path | None, clock: Callable[[], float]) -> None:
        """Read the file and the files that it names. Raises ``ConfigError``."""
        self._path = path
        self._clock = clock
        self._files: tuple[Path, ...] = (path,) if path else ()
        self._signature = _signature(self._files)
        config = read_config(path) if path else WebConfig()
        self._active = self._apply(config, None)

    def current(self) -> ActiveConfig:
        """Return the active configuration, after a reload if a file has changed."""
        if self._path and _signature(self._files) != self._signature:
            self.reload()
        return self._active

    def reload(self) -> None:
        """Reload the file, changed or not."""
        if not self._path:
            return
        self._signature = _signature(self._files)
        try:
            self._active = self._apply(read_config(self._path), self._active)
        except ConfigError as error:
            log.error("invalid web configuration, the previous one stays active: %s", error)
        else:
            log.info("web configuration reloaded: %s", self._path)

    def _apply(self, config: WebConfig, old: ActiveConfig | None) -> ActiveConfig:
        if self._path:
            self._files = (self._path, *(config.tls.files if config.tls else ()))
            self._signature = _signature(self._files)
        context = make_context(config.tls) if config.tls else None
        for warning in config.warnings:
            log.warning("%s", warning)
        return ActiveConfig(config, context, Users(config.users), self._bucket(config, old))

    def _bucket(self, config: WebConfig, old: ActiveConfig | None) -> TokenBucket | None:
        """Keep the old bucket while its limit is unchanged: a reload must not refill it."""
        if not config.rate_limit:
            return None
        if old and old.bucket and old.bucket.limit == config.rate_limit:
            return old.bucket
        return TokenBucket(config.rate_limit, self._clock)


def _signature(files: Iterable[Path]) -> _Signature:
    """Return a value that changes when a file is written, replaced or removed.

    Times are compared for equality only, since the clock can be set back.
    """
    return tuple(map(_one_signature, files))


def _one_signature(file: Path) -> tuple[int, int, int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns

# SPDX-License-Identifier: Apache-2.0
"""Log each message once: clients must not be able to fill the log."""

import logging

_MAX_LINES = 100


class LogOnce:
    """Logs each distinct line once, and at most ``_MAX_LINES`` of them."""

    def __init__(self, log: logging.Logger) -> None:
        """Log to ``log``."""
        self._log = log
        self._logged: set[str] = set()

    def error(self, text: str, *values: object) -> None:
        """Log as ``logging.Logger.error`` does."""
        self._write(logging.ERROR, text % values)

    def warning(self, text: str, *values: object) -> None:
        """Log as ``logging.Logger.warning`` does."""
        self._write(logging.WARNING, text % values)

    def _write(self, level: int, line: str) -> None:
        if line not in self._logged and len(self._logged) < _MAX_LINES:
            self._logged.add(line)
            self._log.log(level, "%s (logged once)", line)

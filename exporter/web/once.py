# SPDX-License-Identifier: Apache-2.0
"""Say something once: what clients can provoke must not fill a log."""

import logging

_REMEMBERED = 100


class Once:
    """Logs each text once, and after a hundred different ones nothing more."""

    def __init__(self, log: logging.Logger) -> None:
        """Log to ``log``."""
        self._log = log
        self._said: set[str] = set()

    def error(self, text: str, *values: object) -> None:
        """As ``logging.Logger.error``."""
        self._say(logging.ERROR, text % values)

    def warning(self, text: str, *values: object) -> None:
        """As ``logging.Logger.warning``."""
        self._say(logging.WARNING, text % values)

    def _say(self, level: int, line: str) -> None:
        if line not in self._said and len(self._said) < _REMEMBERED:
            self._said.add(line)
            self._log.log(level, "%s (said once)", line)

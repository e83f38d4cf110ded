# SPDX-License-Identifier: Apache-2.0
"""A token bucket: a burst of requests, then one per interval."""

from collections.abc import Callable
from typing import NamedTuple


class RateLimit(NamedTuple):
    """One request per ``interval`` seconds, with bursts of up to ``burst``."""

    interval: float
    burst: int


class TokenBucket:
    """Token bucket on a monotonic clock: setting the system time does not affect it."""

    def __init__(self, limit: RateLimit, clock: Callable[[], float]) -> None:
        """Start full."""
        self.limit = limit
        self._clock = clock
        self._tokens = float(limit.burst)
        self._at = clock()

    def take(self) -> bool:
        """Take a token; return False if there is none."""
        now = self._clock()
        gained = (now - self._at) / self.limit.interval
        self._tokens = min(float(self.limit.burst), self._tokens + gained)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

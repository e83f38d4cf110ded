# SPDX-License-Identifier: Apache-2.0
"""A token bucket: so many requests at once, and then one each interval."""

from collections.abc import Callable
from typing import NamedTuple


class RateLimit(NamedTuple):
    """One request each ``interval`` seconds, and ``burst`` of them at once."""

    interval: float
    burst: int


class TokenBucket:
    """Counts on a monotonic clock, so that setting the time lets nobody in or out."""

    def __init__(self, limit: RateLimit, clock: Callable[[], float]) -> None:
        """Start full."""
        self.limit = limit
        self._clock = clock
        self._tokens = float(limit.burst)
        self._at = clock()

    def take(self) -> bool:
        """Whether one more may pass."""
        now = self._clock()
        gained = (now - self._at) / self.limit.interval
        self._tokens = min(float(self.limit.burst), self._tokens + gained)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

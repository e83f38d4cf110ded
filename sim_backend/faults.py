# SPDX-License-Identifier: Apache-2.0
"""How a backend looks from outside while something is wrong with its probes or its stream.

What a detached probe would have counted is absent, just as for the live backend.
"""

from collections.abc import Collection, Mapping

from probes.counters import Counters
from probes.events import RECORD
from probes.observation import ProbeStatus
from probes.observed import observed_durations, observed_slots
from sim_backend.stream import RecordQueue

DETACHED = "detached by the simulation"


class LossyQueue(RecordQueue):
    """A queue that can be told to lose records."""

    def __init__(self, limit: int) -> None:
        """``limit`` is in records."""
        super().__init__(limit)
        self._to_lose = 0
        self._dropped = 0
        self._forgotten = 0

    @property
    def lost(self) -> int:
        """Records dropped since ``forget``, for want of room or because of ``lose``."""
        return super().lost + self._dropped - self._forgotten

    def forget(self) -> None:
        """Reset the count of lost events, and lose no more on purpose."""
        self._to_lose = 0
        self._forgotten += self.lost

    def lose(self, records: int) -> None:
        """Drop the next ``records``."""
        self._to_lose += records

    def put(self, records: bytes | bytearray) -> None:
        """As inherited, less what is to be lost."""
        drop = min(self._to_lose, len(records) // RECORD.size)
        self._to_lose -= drop
        self._dropped += drop
        super().put(records[drop * RECORD.size :])


def visible(counters: Counters, attached: Collection[str]) -> Counters:
    """What is left of ``counters`` with only these steps attached."""
    slots, durations = observed_slots(attached), observed_durations(attached)
    return Counters(
        {key: value for key, value in counters.totals.items() if key[0] in slots},
        {key: value for key, value in counters.durations.items() if key[0] in durations},
        counters.epoch,
    )


def probe_statuses(
    symbols: Mapping[str, str], detached: Collection[str], problem: str
) -> tuple[ProbeStatus, ...]:
    """Every step's probe; ``problem`` is what keeps all of them from being attached, if any."""
    statuses = []
    for step, symbol in symbols.items():
        reason = problem or (DETACHED if step in detached else "")
        attach = "" if reason else "simulated"
        statuses.append(ProbeStatus(step, not reason, symbol, attach, reason))
    return tuple(statuses)

# SPDX-License-Identifier: Apache-2.0
"""A census and the probes' counters of the same moment: the baseline of what is optimized now.

Between two censuses that find the same, nothing may have been counted. A page whose optimization
has ended can still be on no list, and one taken off its list not yet be restored; both take
microseconds unless the pool is being resized, which ``probes.census.census`` sees.
"""

import time
from collections.abc import Callable, Sequence

from probes.baseline import Baseline, net_optimized
from probes.census.census import PoolCensus, frames_each, optimized_pages
from probes.census.facts import UnsettledError
from probes.counters import Counters

_BETWEEN_SECONDS = 0.2
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.2, 30.0


def settled_baseline(
    take: Callable[[], Sequence[PoolCensus]],
    counters: Callable[[], Counters],
    *,
    sleep: Callable[[float], object] = time.sleep,
    clock: Callable[[], float] = time.time,
) -> Baseline:
    """Take two censuses that agree. Raises ``CensusError``."""
    before, pools = counters(), take()
    sleep(_BETWEEN_SECONDS)
    again, after = take(), counters()
    if pools != again or before != after:
        raise UnsettledError("huge pages were optimized or restored during the census")
    return baseline_of(pools, after, clock())


def wait_for_baseline(
    attempt: Callable[[], Baseline], is_wanted: Callable[[float], bool]
) -> Baseline | None:
    """Try until it succeeds; ``is_wanted`` waits so many seconds, and ends it by False.

    Raises ``CensusError`` if waiting does not help.
    """
    pause = _FIRST_PAUSE_SECONDS
    while True:
        try:
            return attempt()
        except UnsettledError:
            if not is_wanted(pause):
                return None
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)


def baseline_of(pools: Sequence[PoolCensus], counters: Counters, taken: float) -> Baseline:
    """What was optimized when the counters were 0; ``taken`` is Unix time in seconds."""
    optimized = optimized_pages(pools)
    for _, key in counters.totals:
        optimized.setdefault(key, 0)
    return Baseline(
        {key: pages - net_optimized(counters, key) for key, pages in optimized.items()},
        frames_each(pools),
        taken,
    )

# SPDX-License-Identifier: Apache-2.0
"""What can be counted with which probes attached; everything else must stay absent."""

from collections.abc import Collection

from probes.backend import FULL, RANGE, STEPS
from probes.counters import SLOTS, Slot

_OPTIMIZED = {
    FULL: frozenset({"optimize", "remap_pte"}),
    RANGE: frozenset({"optimize", "remap_range"}),
}
_RESTORED = {
    FULL: frozenset({"restore", "restore_pte"}),
    RANGE: frozenset({"restore", "remap_range"}),
}
_RESTORE_SLOTS = frozenset(
    {
        Slot("frames_allocated", "restore"),
        Slot("hugepages_restored"),
        Slot("ptes_restored"),
    }
)


def observed_slots(
    attached: Collection[str], mode: str = FULL, planned: Collection[str] = STEPS
) -> frozenset[Slot]:
    """What can be counted with these of the planned steps attached; all else must stay absent."""
    steps, optimized = frozenset(attached), _optimized(mode, planned)
    return frozenset(slot for slot in SLOTS if _needs(slot, mode, optimized) <= steps)


def observed_durations(
    attached: Collection[str], mode: str = FULL, planned: Collection[str] = STEPS
) -> frozenset[str]:
    """Which durations are observed with these of the planned steps attached."""
    optimized = _optimized(mode, planned)
    needs = {"optimize": optimized, "restore": _RESTORED[mode], "batch": optimized | {"batch"}}
    return frozenset(name for name, steps in needs.items() if steps <= frozenset(attached))


def _needs(slot: Slot, mode: str, optimized: frozenset[str]) -> frozenset[str]:
    if slot.family == "optimize_calls":
        return frozenset({"optimize"})
    if slot.family == "restore_failures":
        return frozenset({"restore"})
    return _RESTORED[mode] if slot in _RESTORE_SLOTS else optimized


def _optimized(mode: str, planned: Collection[str]) -> frozenset[str]:
    return _OPTIMIZED[mode] | ({"remap_range"} & set(planned))

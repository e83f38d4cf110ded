# SPDX-License-Identifier: Apache-2.0
"""Which counters are valid with which probes attached; all others must be absent."""

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
    attached: Collection[str], mode: str = FULL, selected: Collection[str] = STEPS
) -> frozenset[Slot]:
    """Counters that are valid when these of the ``selected`` steps are attached."""
    steps, optimized = frozenset(attached), _optimized(mode, selected)
    return frozenset(slot for slot in SLOTS if _needs(slot, mode, optimized) <= steps)


def observed_durations(
    attached: Collection[str], mode: str = FULL, selected: Collection[str] = STEPS
) -> frozenset[str]:
    """Durations that are valid when these of the ``selected`` steps are attached."""
    optimized = _optimized(mode, selected)
    needs = {"optimize": optimized, "restore": _RESTORED[mode], "batch": optimized | {"batch"}}
    return frozenset(name for name, steps in needs.items() if steps <= frozenset(attached))


def _needs(slot: Slot, mode: str, optimized: frozenset[str]) -> frozenset[str]:
    if slot.family == "optimize_calls":
        return frozenset({"optimize"})
    if slot.family == "restore_failures":
        return frozenset({"restore"})
    return _RESTORED[mode] if slot in _RESTORE_SLOTS else optimized


def _optimized(mode: str, selected: Collection[str]) -> frozenset[str]:
    return _OPTIMIZED[mode] | ({"remap_range"} & set(selected))

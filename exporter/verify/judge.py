# SPDX-License-Identifier: Apache-2.0
"""Hold each account against what an operation must do. An account is a function of two moments."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from exporter.verify.accounts import Accounts, Counted
from exporter.verify.effect import Change, Effect
from exporter.verify.machine import HugePageSize
from probes.counters import Counters, Slot
from probes.drift import net_freed
from probes.geometry import KIB, MIB, size_label
from probes.observation import Absent, known

OPTIMIZED, RESTORED = Slot("hugepages_optimized"), Slot("hugepages_restored")

LEAST_MISSING = 4 * MIB
"""Memory that other tasks may take meanwhile."""
_MOST_LINES = 3

Complaints = list[str]
"""What does not add up, one line each; empty if all does."""


@dataclass(frozen=True)
class Moments:
    """Accounts before and after, and what must have happened in between."""

    before: Accounts
    after: Accounts
    effect: Effect
    sizes: Sequence[HugePageSize]
    page_size: int

    def change(self, size: HugePageSize) -> Change:
        """What becomes of a size."""
        return self.effect.get(size.size, Change())

    def resolved(self) -> "Moments":
        """With what was not known beforehand taken from the first account that knows it."""
        effect = {}
        for size in self.sizes:
            change = self.change(size)
            if change.restored is None:
                change = replace(change, restored=_restored(self, size, change))
            effect[size.size] = change
        return replace(self, effect=effect)


Account = Callable[[Moments], Complaints | Absent]


def pool_files(seen: Moments) -> Complaints:
    """Huge pages, and surplus, by the pools' own files."""
    return [
        _differs(f"the {what} of {size_label(size.size)} changed by", found, expected, "pages")
        for size in seen.sizes
        for what, before, after, expected in (
            ("pool", seen.before.pages, seen.after.pages, seen.change(size).pages),
            ("surplus", seen.before.surplus, seen.after.surplus, seen.change(size).surplus),
        )
        for found in [after.get(size.size, 0) - before.get(size.size, 0)]
        if found != expected
    ]


def probes(seen: Moments) -> Complaints | Absent:
    """Pages optimized and restored, and frames, by the probes' counters."""
    before, after = seen.before.probes, seen.after.probes
    if isinstance(before, Absent) or isinstance(after, Absent):
        return after if isinstance(after, Absent) else before if isinstance(before, Absent) else []
    complaints = [seen.after.probe_trouble] if seen.after.probe_trouble else []
    for size in seen.sizes:
        change = seen.change(size)
        for what, slot, expected in (
            ("optimized", OPTIMIZED, change.optimized),
            ("restored", RESTORED, change.restored),
        ):
            found = _rise(before, after, slot, size.order)
            if expected is not None and found != expected:
                label = f"{size_label(size.size)} pages {what}:"
                complaints.append(_differs(label, found, expected))
    return [*complaints, *_failures(seen, before, after), *_frames(seen, before, after)]


def census(seen: Moments) -> Complaints | Absent:
    """Pages, and those of them that are optimized, by the kernel's own lists."""
    before, after = seen.before.census, seen.after.census
    if isinstance(before, Absent) or isinstance(after, Absent):
        return after if isinstance(after, Absent) else before if isinstance(before, Absent) else []
    complaints = []
    for size in seen.sizes:
        change = seen.change(size)
        was, now = (moment.get(size.order, Counted(0, 0)) for moment in (before, after))
        label = size_label(size.size)
        if now.pages - was.pages != change.pages:
            what = f"{label} pages on the kernel's lists changed by"
            complaints.append(_differs(what, now.pages - was.pages, change.pages))
        if change.restored is not None:
            expected = change.optimized - change.restored
            if now.optimized - was.optimized != expected:
                what = f"optimized {label} pages changed by"
                complaints.append(_differs(what, now.optimized - was.optimized, expected))
    return complaints


def memmap_counters(seen: Moments) -> Complaints | Absent:
    """Frames of struct pages by nr_memmap_pages and nr_memmap_boot_pages (Linux 6.11)."""
    before, after = seen.before.memmap_frames, seen.after.memmap_frames
    if isinstance(before, Absent) or isinstance(after, Absent):
        return after if isinstance(after, Absent) else before if isinstance(before, Absent) else []
    expected = _net_frames(seen)
    if expected is None:
        return Absent("the kernel does not say how many frames a page saves")
    if before - after == expected:
        return []
    return [_differs("nr_memmap_* fell by", before - after, expected, "frames")]


def mem_total(seen: Moments) -> Complaints:
    """MemTotal rises by frames of boot-time memory that are freed for the first time."""
    rise = seen.after.mem_total - seen.before.mem_total
    most = seen.page_size * sum(
        seen.change(size).optimized * size.vmemmap_frames for size in seen.sizes
    )
    if 0 <= rise <= most:
        return []
    return [f"MemTotal rose by {rise // KIB} KiB (expected 0 to {most // KIB})"]


def kernel_log(seen: Moments) -> Complaints | Absent:
    """Faults that the kernel reported meanwhile."""
    before, after = seen.before.log, seen.after.log
    if isinstance(before, Absent) or isinstance(after, Absent):
        return after if isinstance(after, Absent) else before if isinstance(before, Absent) else []
    lines = after[len(before) :]
    more = len(lines) - _MOST_LINES
    return [*lines[:_MOST_LINES], *([f"and {more} more lines"] if more > 0 else [])]


STEP_ACCOUNTS: Mapping[str, Account] = {
    "pool files": pool_files,
    "probes": probes,
    "census": census,
    "memmap counters": memmap_counters,
    "MemTotal": mem_total,
    "kernel log": kernel_log,
}
"""Judged for each operation of a case."""


def missing_memory(before: Accounts, after: Accounts) -> int:
    """Bytes that were accounted for before, and are no more."""
    return before.memory - after.memory


def tolerated(peak: int) -> int:
    """Most bytes that may be missing after a case whose huge pages took ``peak`` bytes."""
    return max(LEAST_MISSING, peak // 4)


def memory_given_back(before: Accounts, after: Accounts, peak: int) -> Complaints:
    """Memory that is neither free nor used by anything that /proc/meminfo knows."""
    missing = missing_memory(before, after)
    if missing <= tolerated(peak):
        return []
    return [
        f"{missing // MIB} MiB are not given back, of {peak // MIB} MiB of huge pages: neither free"
        " nor used by anything in /proc/meminfo"
    ]


def page_flags(before: Accounts, after: Accounts) -> Complaints | Absent:
    """Free frames that still have the flag of a huge page."""
    if isinstance(after.stale_flags, Absent):
        return after.stale_flags
    more = after.stale_flags - (known(before.stale_flags) or 0)
    if more <= 0:
        return []
    return [f"{more} more sampled free frames have the flag of a huge page (KPF_HUGE)"]


def _restored(seen: Moments, size: HugePageSize, change: Change) -> int | None:
    before, after = seen.before, seen.after
    if not isinstance(before.probes, Absent) and not isinstance(after.probes, Absent):
        return _rise(before.probes, after.probes, RESTORED, size.order)
    was, now = ((known(moment.census) or {}).get(size.order) for moment in (before, after))
    if was is None or now is None:
        return None
    return was.optimized + change.optimized - now.optimized


def _net_frames(seen: Moments) -> int | None:
    total = 0
    for size in seen.sizes:
        change = seen.change(size)
        if not change.optimized and change.restored == 0:
            continue
        if size.net_frames is None or change.restored is None:
            return None
        total += (change.optimized - change.restored) * size.net_frames
    return total


def _frames(seen: Moments, before: Counters, after: Counters) -> Complaints:
    was, now, expected = net_freed(before), net_freed(after), _net_frames(seen)
    if was is None or now is None or expected is None or now - was == expected:
        return []
    return [_differs("the probes' net frames freed:", now - was, expected)]


def _failures(seen: Moments, before: Counters, after: Counters) -> Iterator[str]:
    """From Linux 6.7 on a page fails once more: first the list, then each page for itself."""
    pages = sum(seen.change(size).failed for size in seen.sizes)
    for family, allowed in (
        ("optimize_failures", (0,)),
        ("restore_failures", (pages, pages + 1) if pages else (0,)),
    ):
        found = _failed(after, family) - _failed(before, family)
        if found not in allowed:
            expected = f" (expected {' or '.join(map(str, allowed))})" if pages else ""
            yield f"{found} {family.replace('_', ' ')}{expected}"


def _rise(before: Counters, after: Counters, slot: Slot, order: int) -> int:
    return _pages(after, slot, order) - _pages(before, slot, order)


def _pages(counters: Counters, slot: Slot, order: int) -> int:
    return sum(n for (one, key), n in counters.totals.items() if (one, key.order) == (slot, order))


def _failed(counters: Counters, family: str) -> int:
    return sum(n for (slot, _), n in counters.totals.items() if slot.family == family)


def _differs(what: str, found: int, expected: int, unit: str = "") -> str:
    return f"{what} {found} {unit}".rstrip() + f" (expected {expected})"

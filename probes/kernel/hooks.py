# SPDX-License-Identifier: Apache-2.0
"""Hook selection: which kernel functions to probe for each step, from one table.

Selection depends on the symbols that the kernel has, never on its version. A new kernel generation
is a new line in ``CANDIDATES``. The function's prototype in BTF decides what may be read at it
(``prototypes.py``).
"""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import Enum, auto

from probes.backend import FULL, RANGE, STEPS
from probes.kernel.btf import Btf
from probes.kernel.prototypes import Parameters, returns_value, unexpected


class Role(Enum):
    """What is probed at a function; ``program.py`` has the C of each role."""

    OPTIMIZE = auto()
    """Entry and return of the function that optimizes one huge page."""
    OPTIMIZE_RESULT = auto()
    """Return of a split-off part, which alone has the result; the entry is another function's."""
    REMAP_FREE = auto()
    """Entry and return of the range function with parameters start, end and reuse."""
    REMAP_RANGE = auto()
    """Entry and return of the range function with parameters start, end and walk."""
    REMAP_PTE = auto()
    """Entry of the function that remaps one PTE."""
    RESTORE = auto()
    """Entry and return of the function that restores one huge page."""
    RESTORE_PTE = auto()
    """Entry of the function that restores one PTE."""
    BATCH = auto()
    """Entry and return of the function that optimizes a list of huge pages."""


_INT = frozenset({"int"})
_HSTATE = frozenset({"*hstate"})
_HEAD = frozenset({"*page", "*folio"})  # a folio since Linux 6.7
_WALK = frozenset({"*vmemmap_remap_walk"})
_PTE = frozenset({"*"})

PARAMETERS: Mapping[Role, Parameters] = {
    Role.OPTIMIZE: (_HSTATE, _HEAD),
    Role.OPTIMIZE_RESULT: (),
    Role.REMAP_FREE: (_INT, _INT),
    Role.REMAP_RANGE: (_INT, _INT, _WALK),
    Role.REMAP_PTE: (_PTE, _INT),
    Role.RESTORE: (_HSTATE, _HEAD),
    Role.RESTORE_PTE: (_PTE, _INT),
    Role.BATCH: (_HSTATE,),
}
"""Allowed types of the first parameters, by role (``btf.Prototype``)."""

VOID_ONLY = frozenset({Role.REMAP_PTE, Role.RESTORE_PTE})
"""Counted at entry, so the function must not be able to fail: it must return void."""


@dataclass(frozen=True)
class Hook:
    """A kernel function to probe, and its role."""

    symbol: str
    role: Role
    returns: bool = False
    """The function returns 0 or a negative errno, and the program reads it."""


@dataclass(frozen=True)
class Candidate:
    """A function that may be hooked for a step."""

    symbol: str
    role: Role
    returns: bool = False
    """It returns 0 or a negative errno in every kernel; used for kernels without BTF."""
    inlined_into: str = ""
    """Caller into which a compiler may inline the first lines, leaving the rest in ``.part.N``."""
    renamed_only: bool = False
    """Hooked only under a ThinLTO name (``.llvm.N``): other files then call it directly."""


CANDIDATES: Mapping[str, tuple[Candidate, ...]] = {
    "batch": (
        # Linux 6.15: called by the list functions for boot time and for later
        Candidate("__hugetlb_vmemmap_optimize_folios", Role.BATCH, renamed_only=True),
        # Linux 6.7, commit c5ad3233ead5 and its series (hugetlb: batch ...)
        Candidate("hugetlb_vmemmap_optimize_folios", Role.BATCH),
    ),
    "optimize": (
        # Linux 6.7, commit c5ad3233ead5: static, called by both the single and the list function
        Candidate(
            "__hugetlb_vmemmap_optimize_folio",
            Role.OPTIMIZE,
            returns=True,
            inlined_into="hugetlb_vmemmap_optimize_folio",
        ),
        # Linux 6.0
        Candidate("hugetlb_vmemmap_optimize", Role.OPTIMIZE),
        # Linux 5.19
        Candidate("hugetlb_vmemmap_free", Role.OPTIMIZE),
        # Linux 5.14, and patch v17 3/9
        Candidate("free_huge_page_vmemmap", Role.OPTIMIZE),
    ),
    "remap_range": (
        # Patch v17 3/9 (returns void) and Linux 5.14 to 5.19: global in mm/sparse-vmemmap.c. Since
        # 6.0 it is static in mm/hugetlb_vmemmap.c and usually inlined into its only caller.
        Candidate("vmemmap_remap_free", Role.REMAP_FREE),
        # Called by vmemmap_remap_free; present in every build since 5.15.
        Candidate("vmemmap_remap_range", Role.REMAP_RANGE),
    ),
    "remap_pte": (Candidate("vmemmap_remap_pte", Role.REMAP_PTE),),
    "restore": (
        Candidate("__hugetlb_vmemmap_restore_folio", Role.RESTORE, returns=True),  # Linux 6.7
        Candidate("hugetlb_vmemmap_restore", Role.RESTORE, returns=True),  # Linux 6.0
        Candidate("hugetlb_vmemmap_alloc", Role.RESTORE, returns=True),  # Linux 5.19
        Candidate("alloc_huge_page_vmemmap", Role.RESTORE, returns=True),  # Linux 5.14
    ),
    "restore_pte": (Candidate("vmemmap_restore_pte", Role.RESTORE_PTE),),
}

SWITCHES: tuple[str, ...] = (
    "vmemmap_optimize_enabled",  # Linux 5.19: static bool in mm/hugetlb_vmemmap.c
    "hugetlb_free_vmemmap_enabled",  # Linux 5.14: bool
)
"""Variables of the boot parameter and the sysctl; the program reads one byte."""

# Steps that a mode does not probe: in range mode the walk's own count replaces the PTE probes.
_NOT_PROBED: Mapping[str, frozenset[str]] = {
    FULL: frozenset(),
    RANGE: frozenset({"remap_pte", "restore_pte"}),
}

# Patch v17 3/9 alone optimizes and never restores; 4/9 adds restoring. Linux 5.14 has both.
_RESTORE_STEPS = frozenset({"restore", "restore_pte"})

# Suffixes of compiler-made variants (GCC's -fipa-*; clang's ThinLTO renames statics .llvm.N).
_VARIANT = re.compile(r"\.(isra|constprop|part|llvm)\.\d+")


@dataclass(frozen=True)
class StepHooks:
    """The hooks of one step, or the reason why it has none."""

    step: str
    hooks: tuple[Hook, ...] = ()
    reason: str = ""


def select_hooks(
    symbols: Collection[str], mode: str = FULL, *, stream: bool = True, btf: Btf | None = None
) -> tuple[StepHooks, ...]:
    """Select the hooks of every step of ``mode``, in the order of ``STEPS``.

    ``btf`` has the prototypes; None for a kernel without BTF. Steps that the kernel does not have
    are omitted: batches before 6.7, and restoring in patch v17 3/9. Without a ``stream``, ranges
    are omitted too unless a counter depends on them.
    """
    steps = [
        _check_prototypes(_select_for_step(step, symbols, mode), btf)
        for step in STEPS
        if step not in _NOT_PROBED[mode]
    ]
    omitted = {s.step for s in steps if s.step == "batch" and s.reason == _no_function(s.step)}
    if has_hvo(symbols) and not restores(symbols):
        omitted |= _RESTORE_STEPS
    has_result = any(h.role is Role.OPTIMIZE and h.returns for s in steps for h in s.hooks)
    if mode == FULL and not stream and has_result:
        # Linux 6.7, commit c5ad3233ead5: the per-page function returns the result itself.
        omitted.add("remap_range")
    return tuple(s for s in steps if s.step not in omitted)


def restores(symbols: Collection[str]) -> bool:
    """Whether the kernel has any function that restores a huge page, hooked or not."""
    wanted = {candidate.symbol for step in _RESTORE_STEPS for candidate in CANDIDATES[step]}
    return _has_any(symbols, wanted)


def has_hvo(symbols: Collection[str]) -> bool:
    """Whether the kernel has HVO, even if none of its functions can be hooked."""
    known = [*CANDIDATES["optimize"], *CANDIDATES["batch"]]
    return _has_any(symbols, {name for c in known for name in (c.symbol, c.inlined_into) if name})


def _has_any(symbols: Collection[str], wanted: Collection[str]) -> bool:
    """Whether one of ``wanted`` is present, possibly as a compiler-made variant."""
    return any(name in wanted or _VARIANT.split(name)[0] in wanted for name in symbols)


def find_switch(symbols: Mapping[str, int]) -> int:
    """Address of the kernel's HVO switch; 0 if it is not known."""
    return next((symbols[name] for name in SWITCHES if symbols.get(name)), 0)


def _select_for_step(step: str, symbols: Collection[str], mode: str) -> StepHooks:
    candidates: Iterable[Candidate] = CANDIDATES[step]
    if step == "remap_range" and mode == RANGE:  # only the walk counts its PTEs
        candidates = [c for c in candidates if c.role is Role.REMAP_RANGE]
    reasons = []
    for candidate in candidates:
        hooks, reason = _hooks_of(candidate, symbols)
        if hooks:
            return StepHooks(step, hooks)
        reasons.append(reason)
    found = [reason for reason in reasons if reason]
    return StepHooks(step, reason="; ".join(found) or _no_function(step))


def _check_prototypes(step: StepHooks, btf: Btf | None) -> StepHooks:
    """Set ``returns`` from BTF, and reject functions whose prototype is not the expected one."""
    if btf is None:
        return step
    hooks = []
    for hook in step.hooks:
        reason = unexpected(btf, hook.symbol, PARAMETERS[hook.role], void=hook.role in VOID_ONLY)
        if reason:
            return StepHooks(step.step, reason=reason)
        returns = returns_value(btf, hook.symbol, otherwise=hook.returns)
        hooks.append(replace(hook, returns=returns))
    return StepHooks(step.step, tuple(hooks), step.reason)


def _no_function(step: str) -> str:
    names = ", ".join(c.symbol for c in CANDIDATES[step] if not c.renamed_only)
    return f"the kernel has none of: {names}"


def _hooks_of(candidate: Candidate, symbols: Collection[str]) -> tuple[tuple[Hook, ...], str]:
    """Return the hooks of one candidate, or why it can't be hooked (empty if it is absent)."""
    name = candidate.symbol
    variants = sorted(s for s in symbols if s.startswith(f"{name}.") and _is_variant(s, name))
    if name not in symbols and len(variants) == 1 and ".llvm." in variants[0]:
        # clang's ThinLTO made a static function global: the name changed, the arguments did not.
        return (Hook(variants[0], candidate.role, candidate.returns),), ""
    if candidate.renamed_only:
        return (), ""
    parts = [v for v in variants if ".part." in v]
    rewritten = [v for v in variants if v not in parts]
    if rewritten:
        # .isra and .constprop change or drop arguments, so arguments can't be read there. A plain
        # function next to them gets only some of the calls.
        return (), f"the compiler rewrote {name} as {', '.join(rewritten)}"
    if name not in symbols:
        return (), f"only {parts[0]} is left of {name}" if parts else ""
    hooks = [Hook(name, candidate.role, candidate.returns)]
    if parts:
        caller = candidate.inlined_into
        if caller not in symbols:
            return (), f"{name} is bypassed through {parts[0]}"
        # The caller has the first lines inlined and then calls .part (GCC on Linux 7.2). So the
        # caller's entry is the operation's entry, and only .part returns the result.
        hooks += [Hook(caller, Role.OPTIMIZE)]
        hooks += [Hook(part, Role.OPTIMIZE_RESULT, candidate.returns) for part in parts]
    return tuple(hooks), ""


def _is_variant(symbol: str, name: str) -> bool:
    """Whether only compiler suffixes follow ``name``; ``.cold`` is excluded: it has no entry."""
    return _VARIANT.sub("", symbol) == name

# SPDX-License-Identifier: Apache-2.0
"""Which kernel functions stand for which semantic step: one table, newest names first.

Chosen by what the kernel has, never by its version. The next kernel generation is a line here. What
may be read at a function is said by its prototype in BTF (``prototypes.py``).
"""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import Enum, auto

from probes.backend import FULL, RANGE, STEPS
from probes.kernel.btf import Btf
from probes.kernel.prototypes import Parameters, returns_value, unexpected


class Role(Enum):
    """What is asked of a function; ``program.py`` has the C that answers."""

    OPTIMIZE = auto()
    """Entry and return of one huge page's optimisation."""
    OPTIMIZE_RESULT = auto()
    """Return of a function that alone knows its result: the entry is another's."""
    REMAP_FREE = auto()
    """Entry and return of the range function that is given start, end and reuse."""
    REMAP_RANGE = auto()
    """Entry and return of the range function that is given start, end and a walk."""
    REMAP_PTE = auto()
    """Entry."""
    RESTORE = auto()
    """Entry and return of one huge page's restore."""
    RESTORE_PTE = auto()
    """Entry."""
    BATCH = auto()
    """Entry and return of a whole list's optimisation."""


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
"""The first parameters, of which a role reads some: what each may be (``btf.Prototype``)."""

VOID_ONLY = frozenset({Role.REMAP_PTE, Role.RESTORE_PTE})
"""Entered is done: a function that may fail after its entry can't be counted there."""


@dataclass(frozen=True)
class Hook:
    """A kernel function, and what is asked of it."""

    symbol: str
    role: Role
    returns: bool = False
    """It returns 0 or a negative errno, which is read."""


@dataclass(frozen=True)
class Candidate:
    """A function that may stand for a step."""

    symbol: str
    role: Role
    returns: bool = False
    """Every kernel that has it returns 0 or a negative errno: for kernels without BTF."""
    inlined_into: str = ""
    """Caller that a compiler may give a copy of this function's first lines (``.part.N``)."""
    renamed_only: bool = False
    """Wanted only under a name that ThinLTO made: other files then call it past its caller."""


CANDIDATES: Mapping[str, tuple[Candidate, ...]] = {
    "batch": (
        # Linux 6.15: what the list's entries for boot time and later have in common
        Candidate("__hugetlb_vmemmap_optimize_folios", Role.BATCH, renamed_only=True),
        # Linux 6.7, commit c5ad3233ead5 and its series (hugetlb: batch ...)
        Candidate("hugetlb_vmemmap_optimize_folios", Role.BATCH),
    ),
    "optimize": (
        # Linux 6.7, commit c5ad3233ead5: static, under the single and the batched entry alike
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
        # Linux 5.14 to 5.19, global in mm/sparse-vmemmap.c, and patch v17 3/9, where it returns
        # nothing. From 6.0 on it is static in mm/hugetlb_vmemmap.c, inlined into its one caller.
        Candidate("vmemmap_remap_free", Role.REMAP_FREE),
        # Every build from 5.15 on: what vmemmap_remap_free calls.
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
"""The variable behind the boot parameter and the sysctl; one byte is enough to read it."""

# Steps that a mode does without: the walk's own count replaces the probe on each PTE.
_LEFT_OUT: Mapping[str, frozenset[str]] = {
    FULL: frozenset(),
    RANGE: frozenset({"remap_pte", "restore_pte"}),
}

# Patch v17 3/9 alone optimises and never restores: restoring came with 4/9, Linux 5.14 has both.
_RESTORING = frozenset({"restore", "restore_pte"})

# What the counts need, by mode. A batch is only described, never counted on. In full mode a range
# that is watched may be what tells the result: then it is needed too.
# The compiler's variants of a function (GCC's -fipa-*; clang's ThinLTO renames statics .llvm.N).
_VARIANT = re.compile(r"\.(isra|constprop|part|llvm)\.\d+")


@dataclass(frozen=True)
class StepPlan:
    """How a step will be observed: hooks, or the reason why there are none."""

    step: str
    hooks: tuple[Hook, ...] = ()
    reason: str = ""


def make_plan(
    symbols: Collection[str], mode: str = FULL, *, stream: bool = True, btf: Btf | None = None
) -> tuple[StepPlan, ...]:
    """Choose the hooks of every step of ``mode``, in the order of ``STEPS``.

    ``btf`` has the prototypes; None for a kernel without BTF. A step that this kernel does not have
    at all is left out: batches before 6.7, restoring in patch v17 3/9. So are, without a ``stream``
    to show them in, ranges of which nothing is counted.
    """
    steps = [
        _check_prototypes(_plan_step(step, symbols, mode), btf)
        for step in STEPS
        if step not in _LEFT_OUT[mode]
    ]
    useless = {s.step for s in steps if s.step == "batch" and s.reason == _absent(s.step)}
    if has_hvo(symbols) and not restores(symbols):
        useless |= _RESTORING
    tells = any(h.role is Role.OPTIMIZE and h.returns for s in steps for h in s.hooks)
    if mode == FULL and not stream and tells:
        # Linux 6.7, commit c5ad3233ead5: the optimisation tells its result itself.
        useless.add("remap_range")
    return tuple(s for s in steps if s.step not in useless)


def restores(symbols: Collection[str]) -> bool:
    """Whether the kernel has any function that restores a huge page, hooked or not."""
    wanted = {candidate.symbol for step in _RESTORING for candidate in CANDIDATES[step]}
    return _has_any(symbols, wanted)


def has_hvo(symbols: Collection[str]) -> bool:
    """Tell whether the kernel optimises huge pages, even where no function of it can be hooked."""
    known = [*CANDIDATES["optimize"], *CANDIDATES["batch"]]
    return _has_any(symbols, {name for c in known for name in (c.symbol, c.inlined_into) if name})


def _has_any(symbols: Collection[str], wanted: Collection[str]) -> bool:
    """Whether one of ``wanted`` is there, be it as a variant that the compiler made."""
    return any(name in wanted or _VARIANT.split(name)[0] in wanted for name in symbols)


def find_switch(symbols: Mapping[str, int]) -> int:
    """Address of the kernel's HVO switch; 0 when it is not shown."""
    return next((symbols[name] for name in SWITCHES if symbols.get(name)), 0)


def _plan_step(step: str, symbols: Collection[str], mode: str) -> StepPlan:
    candidates: Iterable[Candidate] = CANDIDATES[step]
    if step == "remap_range" and mode == RANGE:  # only the walk says how many PTEs it did
        candidates = [c for c in candidates if c.role is Role.REMAP_RANGE]
    reasons = []
    for candidate in candidates:
        hooks, reason = _hooks_of(candidate, symbols)
        if hooks:
            return StepPlan(step, hooks)
        reasons.append(reason)
    found = [reason for reason in reasons if reason]
    return StepPlan(step, reason="; ".join(found) or _absent(step))


def _check_prototypes(plan: StepPlan, btf: Btf | None) -> StepPlan:
    """Let BTF say what returns a value, and refuse functions that are other than expected."""
    if btf is None:
        return plan
    hooks = []
    for hook in plan.hooks:
        reason = unexpected(btf, hook.symbol, PARAMETERS[hook.role], void=hook.role in VOID_ONLY)
        if reason:
            return StepPlan(plan.step, reason=reason)
        returns = returns_value(btf, hook.symbol, otherwise=hook.returns)
        hooks.append(replace(hook, returns=returns))
    return StepPlan(plan.step, tuple(hooks), plan.reason)


def _absent(step: str) -> str:
    names = ", ".join(c.symbol for c in CANDIDATES[step] if not c.renamed_only)
    return f"the kernel has none of: {names}"


def _hooks_of(candidate: Candidate, symbols: Collection[str]) -> tuple[tuple[Hook, ...], str]:
    """Hooks on one candidate, or why it can't be used (empty: the kernel does not have it)."""
    name = candidate.symbol
    variants = sorted(s for s in symbols if s.startswith(f"{name}.") and _is_variant(s, name))
    if name not in symbols and len(variants) == 1 and ".llvm." in variants[0]:
        # clang's ThinLTO made a static visible to other files: another name, the same arguments.
        return (Hook(variants[0], candidate.role, candidate.returns),), ""
    if candidate.renamed_only:
        return (), ""
    parts = [v for v in variants if ".part." in v]
    rewritten = [v for v in variants if v not in parts]
    if rewritten:
        # .isra and .constprop change or drop arguments, so neither may be read there; and a plain
        # function beside them sees only some of the calls.
        return (), f"the compiler rewrote {name} as {', '.join(rewritten)}"
    if name not in symbols:
        return (), f"only {parts[0]} is left of {name}" if parts else ""
    hooks = [Hook(name, candidate.role, candidate.returns)]
    if parts:
        caller = candidate.inlined_into
        if caller not in symbols:
            return (), f"{name} is bypassed through {parts[0]}"
        # The caller has the head of the function inlined and goes on in .part (GCC on Linux 7.2):
        # its entry stands for the entry, and .part alone knows the return value.
        hooks += [Hook(caller, Role.OPTIMIZE)]
        hooks += [Hook(part, Role.OPTIMIZE_RESULT, candidate.returns) for part in parts]
    return tuple(hooks), ""


def _is_variant(symbol: str, name: str) -> bool:
    """Suffixes of the compiler, in any order and number; ``.cold`` is no entry of its own."""
    return _VARIANT.sub("", symbol) == name

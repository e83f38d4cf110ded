# SPDX-License-Identifier: Apache-2.0
"""The text of the BPF program for one kernel.

The fixed C (``bpf/``) stands between definitions made for the kernel (``kernel_facts.py``) and an
entry point for each hook of the plan.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from importlib.resources import files

from probes.backend import FULL, RANGE
from probes.bpf.handover import AT_RETURN
from probes.bpf.kernel_facts import KernelFacts
from probes.bpf.layout import Layout
from probes.events import RECORD
from probes.kernel.btf import Btf
from probes.kernel.hooks import Hook, Role, StepPlan

STREAM_PAGES = 4096
"""Ring buffer of the event stream, in pages; a power of two. 16 MiB hold 161,000 records: a fifth
of a second of the fastest allocation that was published (874,000 PTEs a second, Linux 6.7's
batches)."""
SETTINGS_MAP = "settings"
"""Array of u64 that the loader fills: what moves with every boot can't stand in the text."""


class Setting(IntEnum):
    """Its elements; the C has them as ``SETTING_*``. 0 is an address that is not known."""

    SWITCH = 0
    """Address of HVO's switch."""
    RETURN_TRAMPOLINE = 1
    """Address that a return probe puts in the place of a function's return address."""
    ARMED = 2
    """1 once everything is attached: an operation that begins before is not followed."""


TASK_EXIT = "task_exit"
"""Not a step: the end of a task, which ends what it has left unfinished."""
_EXIT_SYMBOL = "do_exit"  # kernel/exit.c; a function of its own in every kernel

_FIXED = (
    "hvo_operation.h",
    "hvo_stream.h",
    "hvo_kernel.h",
    "hvo_counts.h",
    "hvo.bpf.c",
)
"""C that is the same for all kernels, but for what is defined before it."""

# What a role does at entry and at return: arguments by number, typed 1 where the verifier knows the
# arguments' types, result "1, the return value" or "0, 0" of a function that returns none, dropped
# whether the return will not be seen. A kprobe has no arguments left at the return: what is given
# there in their place is not used.
_BODIES: Mapping[Role, tuple[str, str]] = {
    Role.OPTIMIZE: (
        "on_enter({0}, {1}, 0, {typed}, {number}, {dropped});",
        "on_exit(0, {result});",
    ),
    Role.OPTIMIZE_RESULT: ("on_result_enter(0, {dropped});", "on_result(0, {result});"),
    Role.REMAP_FREE: (
        "on_range_enter({0}, {1}, {2}, 0, {typed}, {dropped});",
        "on_range_exit({result}, 0, 0);",
    ),
    Role.REMAP_RANGE: (
        "on_range_enter({0}, {1}, 0, {2}, {typed}, {dropped});",
        "on_range_exit({result}, {2}, {typed});",
    ),
    Role.REMAP_PTE: ("on_pte({1}, HVO_REMAP_PTE);", ""),
    Role.RESTORE: (
        "on_enter({0}, {1}, 1, {typed}, {number}, {dropped});",
        "on_exit(1, {result});",
    ),
    Role.RESTORE_PTE: ("on_pte({1}, HVO_RESTORE_PTE);", ""),
    Role.BATCH: ("on_batch_enter({0}, {typed}, {dropped});", "on_batch_exit();"),
}


@dataclass(frozen=True)
class EntryPoint:
    """One BPF function: which kernel function it goes on, where, and how."""

    name: str
    """Of a kprobe's function. A trampoline's is made by BCC's macro, from the symbol."""
    symbol: str
    at_return: bool
    fentry: bool
    text: str
    """Its C."""


def ranges_entered(
    mode: str, stream: bool, facts: KernelFacts, points: Iterable[EntryPoint]
) -> bool:
    """Whether ranges must be seen to begin, or their end, at one of ``points``, is enough.

    The stream shows where they begin, and a kprobe's return may be dropped: its entry tells. The
    walk's count needs to know whether the walk was given a page to map: a trampoline still sees it
    at the return, where nothing took that page's place.
    """
    kprobes = not all(point.fentry for point in points)
    return stream or kprobes or (mode == RANGE and facts.walk_skips)


def entry_points(step: StepPlan, btf: Btf | None, fentry: bool) -> tuple[EntryPoint, ...]:
    """Entry points of a step's hooks, in the order in which to attach them.

    Of kprobes the entry comes first: of the probes at one address the last one runs first, and the
    entry is to see whether the return probe found room (``return_dropped`` of hvo.bpf.c).
    ``fentry`` asks for trampolines where BTF describes the function, kprobes elsewhere.
    """
    return tuple(
        point
        for number, hook in enumerate(step.hooks)
        for point in _of_hook(hook, number, step.step, btf if fentry else None)
    )


def task_exit(btf: Btf | None, fentry: bool) -> EntryPoint:
    """Where a task ends."""
    parameters = _parameters(_EXIT_SYMBOL, btf if fentry else None)
    body = "on_task_exit();"
    name = f"{TASK_EXIT}_enter"
    if parameters is None:
        return EntryPoint(name, _EXIT_SYMBOL, False, False, _kprobe(name, body))
    text = _trampoline(_EXIT_SYMBOL, parameters, False, body)
    return EntryPoint(name, _EXIT_SYMBOL, False, True, text)


def wake_every(ring: int, cpus: int) -> int:
    """After how many records a CPU wakes the reader: all together, when a ``ring`` is half full.

    ``ring`` is in bytes; the result is a power of two.
    """
    share = ring // RECORD.size // 2 // cpus
    return 1 << max(share.bit_length() - 1, 0)


def source(
    facts: KernelFacts,
    layout: Layout,
    page_size: int,
    points: Iterable[EntryPoint],
    *,
    mode: str,
    stream: bool,
    ranges: bool,
    steps: Collection[str],
) -> str:
    """Return the C text for BCC, the same for every boot of a kernel.

    ``ranges`` is ``ranges_entered``; ``steps`` are the plan's.
    """
    definitions = {
        "HVO_PAGE_SIZE": page_size,
        **facts.definitions(),
        "HVO_PTE_PROBES": int(mode == FULL),
        "HVO_RANGE_ENTRIES": int(ranges),
        "HVO_BATCHES": int("batch" in steps),
        "HVO_STREAM": int(stream),
        "HVO_STREAM_PAGES": STREAM_PAGES,
        "HVO_WAKE_EVERY": wake_every(STREAM_PAGES * page_size, layout.cpus),
    }
    folder = files("probes.bpf.c")
    return "\n".join(
        (
            facts.includes,
            (folder / "hvo_event.h").read_text(),
            *(f"#define {name} ({value})" for name, value in definitions.items()),
            layout.declare(),
            *((folder / name).read_text() for name in _FIXED),
            *(point.text for point in points),
        )
    )


def _of_hook(hook: Hook, number: int, step: str, btf: Btf | None) -> list[EntryPoint]:
    """Entry and return; ``btf`` where trampolines are wanted."""
    parameters = _parameters(hook.symbol, btf)
    fentry = parameters is not None
    points = []
    for body, at_return in zip(_BODIES[hook.role], (False, True), strict=True):
        if not body:
            continue
        name = f"{step}_{number}{AT_RETURN if at_return else '_enter'}"
        numbered = body.replace("{number}", str(number))
        if parameters is not None:
            text = _trampoline(hook.symbol, parameters, at_return, numbered, hook.returns)
        else:
            text = _kprobe(name, numbered, hook.returns)
        points.append(EntryPoint(name, hook.symbol, at_return, fentry, text))
    return points


def _parameters(symbol: str, btf: Btf | None) -> int | None:
    """How many a trampoline has to name; None where there can't be one."""
    try:
        return None if btf is None else len(btf.prototype(symbol).parameters)
    except KeyError:
        return None


def _kprobe(function: str, body: str, returns: bool = False) -> str:
    arguments = [f"PT_REGS_PARM{i + 1}(ctx)" for i in range(3)]
    result = "1, (int)PT_REGS_RC(ctx)" if returns else "0, 0"
    body = body.format(*arguments, result=result, typed=0, dropped="return_dropped(ctx)")
    return f"int {function}(struct pt_regs *ctx) {{ {body} return 0; }}"


def _trampoline(
    symbol: str, parameters: int, at_return: bool, body: str, returns: bool = False
) -> str:
    declared = [f"void *a{i}" for i in range(parameters)]
    if at_return and returns and "{result}" in body:
        declared.append("void *rc")
    macro = "KRETFUNC_PROBE" if at_return else "KFUNC_PROBE"
    result = "1, (int)(long)rc" if returns else "0, 0"
    # Of a trampoline the kernel drops no return for want of room.
    body = body.format(*(f"(u64)a{i}" for i in range(3)), result=result, typed=1, dropped=0)
    return f"{macro}({', '.join((symbol, *declared))}) {{ {body} return 0; }}"

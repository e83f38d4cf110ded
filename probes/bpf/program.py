# SPDX-License-Identifier: Apache-2.0
"""Source of the BPF program for one kernel.

The fixed C (``probes/bpf/c``) is preceded by definitions for the kernel (``kernel_facts.py``) and
followed by an entry point for each selected hook.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from importlib.resources import files

from probes.backend import FULL, RANGE
from probes.bpf.handover import AT_RETURN
from probes.bpf.kernel_facts import KernelFacts
from probes.bpf.layout import Layout
from probes.bpf.object_code import ELEMENTS
from probes.events import RECORD
from probes.kernel.btf import Btf
from probes.kernel.hooks import Hook, Role, StepHooks

STREAM_PAGES = 4096
"""Size of the event stream's ring buffer in pages; a power of two. 16 MiB hold 161,000 records,
a fifth of a second of the fastest published allocation (874,000 PTEs a second, batches of Linux
6.7)."""
SETTINGS_MAP = "settings"
"""One element of u64s that the loader fills with values that change on every boot."""


class Setting(IntEnum):
    """Numbers of the settings; ``SETTING_*`` in the C. An address of 0 is not known."""

    SWITCH = 0
    """Address of the HVO switch."""
    RETURN_TRAMPOLINE = 1
    """Address that a return probe puts in place of a function's return address."""
    ARMED = 2
    """1 once everything is attached; operations that begin earlier are ignored."""


TASK_EXIT = "task_exit"
"""Probe at the end of a task, which ends the task's unfinished operation. Not one of ``STEPS``."""
_EXIT_SYMBOL = "do_exit"  # kernel/exit.c; never inlined

_FIXED = (
    "hvo_operation.h",
    "hvo_stream.h",
    "hvo_kernel.h",
    "hvo_counts.h",
    "hvo.bpf.c",
)
"""C that is the same for all kernels, except for the definitions before it."""

# C of each role at entry and at return. {0} {1} {2}: arguments. {typed}: 1 if the verifier knows
# the arguments' types. {result}: "1, return value", or "0, 0" for a void function. {dropped}:
# whether the kernel will drop the return. ctx: the context of the program, kprobe or trampoline. At
# the return of a kprobe the arguments are not available; the values passed there are not used.
_BODIES: Mapping[Role, tuple[str, str]] = {
    Role.OPTIMIZE: (
        "on_enter({0}, {1}, 0, {typed}, {number}, {dropped}, ctx);",
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
        "on_enter({0}, {1}, 1, {typed}, {number}, {dropped}, ctx);",
        "on_exit(1, {result});",
    ),
    Role.RESTORE_PTE: ("on_pte({1}, HVO_RESTORE_PTE);", ""),
    Role.BATCH: ("on_batch_enter({0}, {typed}, {dropped}, ctx);", "on_batch_exit();"),
}


@dataclass(frozen=True)
class EntryPoint:
    """One BPF function: the kernel function it attaches to, where, and how."""

    name: str
    """Name of a kprobe's function. BCC's macro derives the name of a trampoline from the symbol."""
    symbol: str
    at_return: bool
    fentry: bool
    text: str
    """C text of the function."""


def needs_range_entry(
    mode: str, stream: bool, facts: KernelFacts, points: Iterable[EntryPoint]
) -> bool:
    """Whether the entries of range functions must be probed, and not only their returns.

    Reasons: the stream reports ranges at their entry; a kprobe's dropped return is detected at the
    entry; in range mode the count depends on whether the walk was given a page to map. A trampoline
    can still read that page at the return, unless the walk replaces it (``walk_skips``).
    """
    kprobes = not all(point.fentry for point in points)
    return stream or kprobes or (mode == RANGE and facts.walk_skips)


def entry_points(step: StepHooks, btf: Btf | None, fentry: bool) -> tuple[EntryPoint, ...]:
    """Entry points of a step's hooks, in the order in which to attach them.

    A kprobe's entry is attached before its return: of the probes at one address, the last attached
    runs first, and the entry checks whether the return probe is in use (``return_dropped`` of
    hvo_kernel.h). ``fentry`` selects trampolines for functions that BTF describes, else kprobes.
    """
    return tuple(
        point
        for number, hook in enumerate(step.hooks)
        for point in _of_hook(hook, number, step.step, btf if fentry else None)
    )


def task_exit(btf: Btf | None, fentry: bool) -> EntryPoint:
    """Entry point at the end of a task."""
    parameters = _parameters(_EXIT_SYMBOL, btf if fentry else None)
    body = "on_task_exit();"
    name = f"{TASK_EXIT}_enter"
    if parameters is None:
        return EntryPoint(name, _EXIT_SYMBOL, False, False, _kprobe(name, body))
    text = _trampoline(_EXIT_SYMBOL, parameters, False, body)
    return EntryPoint(name, _EXIT_SYMBOL, False, True, text)


def wake_every(ring: int, cpus: int) -> int:
    """Number of records after which a CPU wakes the reader: half a ring divided by the CPUs.

    ``ring`` is in bytes; the result is a power of two.
    """
    share = ring // RECORD.size // 2 // cpus
    return 1 << max(share.bit_length() - 1, 0)


def source(
    facts: KernelFacts,
    layout: Layout,
    page_size: int,
    points: Sequence[EntryPoint],
    *,
    mode: str,
    stream: bool,
    stacks: bool = False,
    ranges: bool,
    steps: Collection[str],
) -> str:
    """Return the C text for BCC, which is the same for every boot of a kernel.

    ``stacks``: the stream has kernel stacks. ``ranges`` is the result of ``needs_range_entry``;
    ``steps`` are the selected steps.
    """
    definitions = {
        "HVO_PAGE_SIZE": page_size,
        **facts.definitions(),
        "HVO_PTE_PROBES": int(mode == FULL),
        "HVO_KPROBES": int(not all(point.fentry for point in points)),
        "HVO_RANGE_ENTRIES": int(ranges),
        "HVO_BATCHES": int("batch" in steps),
        "HVO_STREAM": int(stream),
        "HVO_STREAM_PAGES": STREAM_PAGES,
        "HVO_STACKS": int(stacks),
        "HVO_WAKE_EVERY": wake_every(STREAM_PAGES * page_size, layout.cpus),
        **{f"HVO_ELEMENT_OF_{name}": f"{number:#x}ULL" for name, number in ELEMENTS.items()},
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
    """Entry points at the entry and return of a hook; with ``btf``, trampolines if possible."""
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
    """Number of parameters that a trampoline must declare; None if it must be a kprobe."""
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
    # The kernel never drops the return of a trampoline for lack of return probes.
    body = body.format(*(f"(u64)a{i}" for i in range(3)), result=result, typed=1, dropped=0)
    return f"{macro}({', '.join((symbol, *declared))}) {{ {body} return 0; }}"

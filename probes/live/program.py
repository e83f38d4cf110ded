# SPDX-License-Identifier: Apache-2.0
"""The text of the BPF program for one kernel.

The fixed C (``bpf/``) stands between definitions made from the kernel's BTF and an entry point for
each hook of the plan.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files

from probes.events import RECORD
from probes.geometry import Geometry
from probes.live.btf import Btf
from probes.live.layout import Layout
from probes.live.plan import FULL, RANGE, Hook, Role, StepPlan

STREAM_PAGES = 4096
"""Ring buffer of the event stream, in pages; a power of two. 16 MiB hold 161,000 records: a fifth
of a second of the fastest allocation that was published (874,000 PTEs a second, Linux 6.7's
batches)."""
SWITCH_MAP = "switch_address"
"""Array whose one element is the address of the kernel's switch, or 0; it moves with every boot, so
that it can't stand in the text."""

_FIXED = ("hvo_operation.h", "hvo_stream.h", "hvo.bpf.c")
"""C that is the same for all kernels, but for what is defined before it."""

# What a role does at entry and at return: arguments by number, rc the return value, typed 1 where
# the verifier knows the arguments' types. A kprobe has no arguments left at the return: what is
# given there in their place is not used.
_BODIES: Mapping[Role, tuple[str, str]] = {
    Role.OPTIMIZE: ("on_enter({0}, {1}, 0, {typed});", "on_exit(0, 0, 0);"),
    Role.OPTIMIZE_ERRNO: ("on_enter({0}, {1}, 0, {typed});", "on_exit(0, 1, {rc});"),
    Role.OPTIMIZE_RETURN: ("", "on_return({rc}, 0);"),
    Role.REMAP_FREE: ("on_range_enter({0}, {1}, {2}, 0, {typed});", "on_range_exit({rc}, 0, 0);"),
    Role.REMAP_RANGE: (
        "on_range_enter({0}, {1}, 0, {2}, {typed});",
        "on_range_exit({rc}, {2}, {typed});",
    ),
    Role.REMAP_PTE: ("on_pte({1}, HVO_REMAP_PTE);", ""),
    Role.RESTORE: ("on_enter({0}, {1}, 1, {typed});", "on_exit(1, 1, {rc});"),
    Role.RESTORE_PTE: ("on_pte({1}, HVO_RESTORE_PTE);", ""),
    Role.BATCH: ("on_batch_enter({0}, {typed});", "on_batch_exit();"),
}


@dataclass(frozen=True)
class KernelFacts:
    """Where the kernel keeps what the program looks at; offsets and sizes in bytes."""

    hstate_order: int
    page_flags: int
    struct_page_size: int
    nodes_shift: int
    walk_nr_walked: int
    walk_head: int
    """Of walk->vmemmap_head, or of walk->reuse_page before it (Linux 7.1, stable 6.12)."""
    walk_skips: bool
    """With reuse_page, a walk that has none takes it from its first PTE and skips that."""
    walk_reuse_addr: int
    """-1 where struct vmemmap_remap_walk has no such member."""


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


def kernel_facts(btf: Btf) -> KernelFacts:
    """Read the facts from BTF. Raises ``KeyError`` naming the struct or member that is missing."""
    walk = "vmemmap_remap_walk"
    skips = btf.has(walk, "reuse_page")
    # MAX_NUMNODES is no type, but this array of hstate has that many elements (1 << NODES_SHIFT).
    max_nodes = btf.length("hstate", "nr_huge_pages_node")
    return KernelFacts(
        hstate_order=btf.offset("hstate", "order"),
        page_flags=btf.offset("page", "flags"),
        struct_page_size=btf.size("page"),
        nodes_shift=max_nodes.bit_length() - 1,
        walk_nr_walked=btf.offset(walk, "nr_walked"),
        walk_head=btf.offset(walk, "reuse_page" if skips else "vmemmap_head"),
        walk_skips=skips,
        walk_reuse_addr=btf.offset(walk, "reuse_addr") if btf.has(walk, "reuse_addr") else -1,
    )


def ranges_entered(
    mode: str, stream: bool, facts: KernelFacts, points: Iterable[EntryPoint]
) -> bool:
    """Whether ranges must be seen to begin, or their end, at one of ``points``, is enough.

    The stream shows where they begin. The walk's count needs to know whether the walk was given a
    page to map: a trampoline still sees it at the return, where nothing took that page's place.
    """
    gone = facts.walk_skips or not all(point.fentry for point in points)
    return stream or (mode == RANGE and gone)


def entry_points(step: StepPlan, btf: Btf, fentry: bool) -> tuple[EntryPoint, ...]:
    """Entry points of a step's hooks, in the order in which to attach them.

    Innermost function first, return before entry: so none is seen to begin whose end is not.
    ``fentry`` asks for trampolines where BTF describes the function, kprobes elsewhere.
    """
    return tuple(
        point
        for number, hook in reversed(list(enumerate(step.hooks)))
        for point in _of_hook(hook, f"{step.step}_{number}", btf, fentry)
    )


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
        "HVO_STRUCT_PAGE_SIZE": facts.struct_page_size,
        "HVO_HSTATE_ORDER": facts.hstate_order,
        "HVO_PAGE_FLAGS": facts.page_flags,
        "HVO_WALK_NR_WALKED": facts.walk_nr_walked,
        "HVO_WALK_HEAD": facts.walk_head,
        "HVO_WALK_SKIPS": int(facts.walk_skips),
        "HVO_WALK_REUSE_ADDR": facts.walk_reuse_addr,
        "HVO_NODES_SHIFT": facts.nodes_shift,
        "HVO_PTE_PROBES": int(mode == FULL),
        "HVO_RANGE_ENTRIES": int(ranges),
        "HVO_BATCHES": int("batch" in steps),
        "HVO_STREAM": int(stream),
        "HVO_STREAM_PAGES": STREAM_PAGES,
        "HVO_WAKE_EVERY": wake_every(STREAM_PAGES * page_size, layout.cpus),
    }
    # One reserved page is the rule from 5.18 on; which sizes can be optimised is the same for two.
    geometry = Geometry(page_size, facts.struct_page_size, reserved_pages=1)
    folder = files("probes.live.bpf")
    return "\n".join(
        (
            (folder / "hvo_event.h").read_text(),
            *(f"#define {name} ({value})" for name, value in definitions.items()),
            layout.declare(geometry),
            *((folder / name).read_text() for name in _FIXED),
            *(point.text for point in points),
        )
    )


def _of_hook(hook: Hook, name: str, btf: Btf, fentry: bool) -> list[EntryPoint]:
    try:
        parameters = btf.parameters(hook.symbol)
    except KeyError:
        fentry = False
    points = []
    for body, at_return in reversed(list(zip(_BODIES[hook.role], (False, True), strict=True))):
        if not body:
            continue
        function = f"{name}_{'return' if at_return else 'enter'}"
        if fentry:
            text = _trampoline(hook.symbol, parameters, at_return, body)
        else:
            text = _kprobe(function, body)
        points.append(EntryPoint(function, hook.symbol, at_return, fentry, text))
    return points


def _kprobe(function: str, body: str) -> str:
    arguments = [f"PT_REGS_PARM{i + 1}(ctx)" for i in range(3)]
    body = body.format(*arguments, rc="(int)PT_REGS_RC(ctx)", typed=0)
    return f"int {function}(struct pt_regs *ctx) {{ {body} return 0; }}"


def _trampoline(symbol: str, parameters: int, at_return: bool, body: str) -> str:
    declared = [f"void *a{i}" for i in range(parameters)]
    if at_return and "{rc}" in body:
        declared.append("void *rc")
    macro = "KRETFUNC_PROBE" if at_return else "KFUNC_PROBE"
    body = body.format(*(f"(u64)a{i}" for i in range(3)), rc="(int)(long)rc", typed=1)
    return f"{macro}({', '.join((symbol, *declared))}) {{ {body} return 0; }}"

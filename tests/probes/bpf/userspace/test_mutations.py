# SPDX-License-Identifier: Apache-2.0
"""Mutation tests: each of these faults in the C makes the comparison fail."""

from collections.abc import Sequence
from typing import NamedTuple

import pytest

from probes.backend import FULL, RANGE
from probes.counters import ENOTSUPP
from probes.events import WITH_STACKS, Event, Kind, Reason
from tests.probes.bpf.userspace.kernels import KERNELS, Kernel
from tests.probes.bpf.userspace.library import encode
from tests.probes.bpf.userspace.recorder import Call, wandering
from tests.probes.bpf.userspace.run import LAYOUT, Lab, Variant, check, play, program_for
from tests.probes.bpf.userspace.script import Page, Script, interleaved

COUNTS = Variant(FULL, stream=False, fentry=False)
RECORDS = Variant(FULL, stream=True, fentry=False)
STACKS = RECORDS._replace(stacks=True)
WALKS = Variant(RANGE, stream=False, fentry=False)


class Mutation(NamedTuple):
    """A fault: its description, the replaced text, and the kernel and variant that detect it."""

    fault: str
    old: str
    new: str
    kernel: str = "6.7"
    variant: Variant = COUNTS


MUTATIONS = (
    Mutation(
        "head frame not counted",
        "r->frames_allocated = head_is_remapped(op)",
        "r->frames_allocated = 0",
    ),
    Mutation(
        "head detected at another page",
        "* HVO_PAGE_SIZE - HVO_PAGE_SIZE",
        "* HVO_PAGE_SIZE",
    ),
    Mutation(
        "head of a walk not detected",
        "return op->walk_head != 0",
        "return 0",
        "6.2",
        WALKS,
    ),
    Mutation("no stack at an exit", "r.reuse = stack_of(op);\n\tr.ret", "r.ret", variant=STACKS),
    Mutation("stack of a batch forgotten", "r.reuse = batch->stack;", "", variant=STACKS),
    Mutation("stacks numbered from 0", "0 : id + 1", "0 : id", variant=STACKS),
    Mutation("stack that is missing", "id < 0 ? 0 : id + 1", "id + 1", variant=STACKS),
    Mutation("stack of PTEs", "\tr.start = address;", "\tr.reuse = stack_of(op);", variant=STACKS),
    Mutation("call not counted", "ADD(totals[HVO_SLOT_OPTIMIZE_CALLS], 1);", ""),
    Mutation("ENOMEM as other", "if (ret == -12)", "if (ret == -13)"),
    Mutation("ENOTSUPP as EOPNOTSUPP", "ret == -524", "ret == -95"),
    Mutation(
        "errors of a restore all ENOMEM",
        "totals[HVO_SLOT_RESTORE_FAILURES_OTHER]",
        "totals[HVO_SLOT_RESTORE_FAILURES_ENOMEM]",
    ),
    Mutation("node shift too small", ">> (64 - HVO_NODES_SHIFT)", ">> (63 - HVO_NODES_SHIFT)"),
    Mutation("node shift too large", ">> (64 - HVO_NODES_SHIFT)", ">> (65 - HVO_NODES_SHIFT)"),
    Mutation(
        "order read at a wrong offset",
        "hstate + HVO_HSTATE_ORDER",
        "hstate + HVO_HSTATE_ORDER - 256",
    ),
    Mutation(
        "nodes of one size counted for another",
        "size_index * HVO_NODES + node",
        "size_index + node",
    ),
    Mutation(
        "size checked before the switch", "known && !on", "known && !on && can_be_optimized(order)"
    ),
    Mutation("switched off not detected", "return HVO_REASON_OFF", "return HVO_REASON_OTHER"),
    Mutation("bucket's bound excluded", "if (ns <= ", "if (ns < "),
    Mutation("last bucket left out", "bucket >= HVO_BUCKETS", "bucket >= HVO_BUCKETS - 1"),
    Mutation("roll-back counted", "if (op->restoring == restoring) {", "if (1) {", "6.7", RECORDS),
    Mutation("roll-back's walk counted", "if (op->ranges != 1)", "if (!op->ranges)", "5.14", WALKS),
    Mutation("roll-back shown as a range", "if (op->ranges++)", "if (0)", "6.7", RECORDS),
    Mutation("reused PTE counted", "walked - skipped", "walked", "6.0", WALKS),
    Mutation(
        "first PTE never counted",
        "HVO_WALK_SKIPS && !op->walk_head",
        "!op->walk_head",
        "7.1",
        WALKS,
    ),
    Mutation(
        "restore counted as a call",
        "finish_restore(block, op,",
        "ADD(block->total[key][HVO_SLOT_OPTIMIZE_CALLS], 1), finish_restore(block, op,",
    ),
    Mutation(
        "skips timed",
        "count_skip(totals, r->reason);\n\t\treturn;",
        "count_skip(totals, r->reason);",
    ),
    Mutation("restore without work timed", "if (!ptes)\n\t\t\treturn;", ""),
    Mutation("nested function ends the operation", "op->depth++;", ";", "7.2-nested"),
    Mutation("nested function begins an operation", "if (op->head == head", "if (0", "7.2-nested"),
    Mutation("result of a nested function lost", "if (has_result)\n\t\top->ret = ret;", ";", "6.7"),
    Mutation("PTEs of the last operation not reset", "op->no_ptes = op->progress", "op->progress"),
    Mutation("result of the last operation not reset", "op->ret = 0;", "", "6.0"),
    Mutation(
        "progress of the last operation not reset",
        "op->no_ptes = op->progress",
        "op->no_ptes",
        "6.0",
        WALKS,
    ),
    Mutation(
        "slot given to two tasks", "(volatile u64 *)claims == 1", "(volatile u64 *)claims >= 1"
    ),
    Mutation(
        "slot of another task used",
        "if ((*op)->owner == task)",
        "if ((*op)->owner)",
    ),
    Mutation("hash never read", "return operations.lookup(&task);", "return 0;"),
    Mutation(
        "batch counts only its last page",
        "batch->ptes += op->ptes",
        "batch->ptes = op->ptes",
        "6.7",
        RECORDS,
    ),
    Mutation(
        "batches not timed",
        "observe(block, HVO_DURATION_BATCH",
        "observe(block, HVO_DURATION_RESTORE",
    ),
    Mutation(
        "last records not flushed",
        "\tflush_records(op);\n\tend_operation",
        "\tend_operation",
        "6.7",
        RECORDS,
    ),
    Mutation(
        "comm not read",
        "bpf_get_current_comm(&op->comm, sizeof(op->comm));",
        "",
        "6.7",
        RECORDS,
    ),
    Mutation(
        "process and thread id swapped",
        "event->tgid = task >> 32",
        "event->tgid = task",
        "6.7",
        RECORDS,
    ),
    Mutation(
        "reuse read at a wrong offset",
        "walk + HVO_WALK_REUSE_ADDR",
        "walk + HVO_WALK_NR_WALKED",
        "6.7",
        RECORDS,
    ),
    Mutation(
        "void function's register read",
        "on_exit(0, 0, 0);",
        "on_exit(0, 1, (int)PT_REGS_RC(ctx));",
        "6.0",
    ),
    Mutation("every return treated as dropped", "address != trampoline", "address == trampoline"),
    Mutation("start time not set", "op->since_ns = bpf_ktime_get_ns();", ";"),
)


def scenario(kernel: Kernel, lab: Lab) -> tuple[list[Call], list[Script]]:
    """Two tasks that share a slot and a third one, on all CPUs, with every possible result."""
    first, second = Page(0, 9, 1), Page(1, 9, 2)
    scripts = [
        Script(
            kernel,
            lab.arena,
            pid=pid,
            part=part,
            errnos=(12, 12, ENOTSUPP, 12, 22, 12, 5),
            cpus=wandering(part, LAYOUT.cpus),
        )
        for part, pid in enumerate((23 * 130, 23 * 130 + 1024, 3001))
    ]
    one, two, three = scripts
    one.optimize(first, each_ns=100).optimize(second, fails_after=3)
    one.optimize(first, fails_after=0).optimize(second).optimize(first, fails_after=5)
    one.restore(second, fails=True).restore(first, fails=True).restore(second)
    one.optimize(first, each_ns=2 * 10**8)
    two.optimize(Page(0, 13, 1)).skip(second, Reason.OFF).skip(first, Reason.OTHER)
    two.skip(Page(0, 4, 0), Reason.OFF).skip(Page(0, 4, 0), Reason.UNSUPPORTED)
    two.restore(Page(0, 13, 1)).restore_unoptimized(first)
    three.optimize(first, head=False).restore(first)
    three.optimize(first, fails_after=0).skip(first, Reason.OTHER)
    if "batch" in kernel.steps:
        three.batch(9, first, second)
    return interleaved(*scripts), scripts


def expected_records(scripts: Sequence[Script], variant: Variant) -> list[Event]:
    events = [event for script in scripts for event in script.recorder.events[variant.mode]]
    return [with_stack(event) for event in events] if variant.stacks else events


def with_stack(event: Event) -> Event:
    """Add what the stub gives: a stack per thread, but none to those of multiples of 23."""
    stack = event.pid + 1 if event.pid % 23 else 0
    own = event.kind not in (Kind.REMAP_RANGE, Kind.REMAP_PTE, Kind.RESTORE_PTE)
    return event._replace(version=WITH_STACKS, reuse=stack if own else event.reuse)


@pytest.mark.parametrize(
    ("name", "variant"),
    sorted({(mutation.kernel, mutation.variant) for mutation in MUTATIONS}),
    ids=str,
)
def test_the_unchanged_program_passes(name: str, variant: Variant, lab: Lab) -> None:
    kernel = KERNELS[name]
    calls, scripts = scenario(kernel, lab)
    program = program_for(kernel, variant)
    check(program, play(program, encode(calls), lab), expected_records(scripts, variant))


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.fault)
def test_each_mutation_is_detected(mutation: Mutation, lab: Lab) -> None:
    kernel = KERNELS[mutation.kernel]
    calls, scripts = scenario(kernel, lab)
    program = program_for(kernel, mutation.variant)
    text = program.text.replace(mutation.old, mutation.new)
    assert text != program.text, "the program no longer has this text"
    found = play(program, encode(calls), lab, text=text)
    with pytest.raises(AssertionError):
        check(program, found, expected_records(scripts, mutation.variant))

# SPDX-License-Identifier: Apache-2.0
import re
from dataclasses import replace

import pytest

from probes.live.btf import Btf
from probes.live.layout import Layout
from probes.live.plan import MODES, Hook, Role, StepPlan
from probes.live.program import (
    SWITCH_MAP,
    KernelFacts,
    entry_points,
    ranges_entered,
    source,
    wake_every,
)
from tests.probes.live.test_btf import FROM_7_1, kernel

BTF = Btf(kernel(FROM_7_1))
FACTS = KernelFacts(40, 8, 64, 10, 8, 16, False, -1)
RANGE = StepPlan("remap_range", (Hook("vmemmap_remap_range", Role.REMAP_RANGE),))
FOLLOWED = StepPlan(
    "optimize",
    (
        Hook("plain", Role.OPTIMIZE_ERRNO),
        Hook("caller", Role.OPTIMIZE),
        Hook("plain.part.0", Role.OPTIMIZE_RETURN),
    ),
)


def test_returns_before_entries_and_the_innermost_function_first() -> None:
    points = entry_points(FOLLOWED, BTF, fentry=False)
    assert [(point.symbol, point.at_return) for point in points] == [
        ("plain.part.0", True),
        ("caller", True),
        ("caller", False),
        ("plain", True),
        ("plain", False),
    ]


def test_kprobes_read_registers() -> None:
    leave, enter = entry_points(RANGE, BTF, fentry=False)
    assert enter.text == (
        "int remap_range_0_enter(struct pt_regs *ctx) { on_range_enter(PT_REGS_PARM1(ctx), "
        "PT_REGS_PARM2(ctx), 0, PT_REGS_PARM3(ctx), 0); return 0; }"
    )
    assert leave.text == (
        "int remap_range_0_return(struct pt_regs *ctx) "
        "{ on_range_exit((int)PT_REGS_RC(ctx), PT_REGS_PARM3(ctx), 0); return 0; }"
    )


def test_trampolines_name_the_functions_own_parameters() -> None:
    leave, enter = entry_points(RANGE, BTF, fentry=True)
    assert enter.text == (
        "KFUNC_PROBE(vmemmap_remap_range, void *a0, void *a1, void *a2) "
        "{ on_range_enter((u64)a0, (u64)a1, 0, (u64)a2, 1); return 0; }"
    )
    assert leave.text == (
        "KRETFUNC_PROBE(vmemmap_remap_range, void *a0, void *a1, void *a2, void *rc) "
        "{ on_range_exit((int)(long)rc, (u64)a2, 1); return 0; }"
    )


def test_what_btf_does_not_describe_gets_a_kprobe() -> None:
    points = entry_points(FOLLOWED, BTF, fentry=True)
    assert not any(point.fentry for point in points)


@pytest.mark.parametrize(
    ("skips", "fentry", "in_range_mode"),
    [(True, True, True), (True, False, True), (False, False, True), (False, True, False)],
)
def test_the_entry_of_ranges_only_where_it_is_wanted(
    skips: bool, fentry: bool, in_range_mode: bool
) -> None:
    facts = replace(FACTS, walk_skips=skips)
    points = entry_points(RANGE, BTF, fentry=fentry)
    full, walked = (ranges_entered(mode, False, facts, points) for mode in MODES)
    assert (full, walked) == (False, in_range_mode)
    assert all(ranges_entered(mode, True, facts, points) for mode in MODES)


def test_the_reader_is_woken_before_the_ring_is_full() -> None:
    ring = 1 << 24
    assert wake_every(ring, 1) == 65536
    for cpus in (1, 2, 3, 64, 8192):
        assert ring // 4 <= cpus * (wake_every(ring, cpus) + 1) * 104
        assert cpus * wake_every(ring, cpus) * 104 <= 0.55 * ring
    assert wake_every(1 << 12, 8192) == 1


@pytest.mark.parametrize(("mode", "probes"), [("full", 1), ("range", 0)])
def test_every_definition_that_the_program_asks_for_is_made(mode: str, probes: int) -> None:
    text = source(
        FACTS, Layout((9,), 1, 1), 4096, (), mode=mode, stream=True, ranges=True, steps={"batch"}
    )
    code = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    asked = set(re.findall(r"\bHVO_[A-Z_]+\b", code.partition("#include <uapi/linux/ptrace.h>")[2]))
    made = set(re.findall(r"#define (HVO_\w+)", text)) | set(re.findall(r"\t(HVO_\w+) =", text))
    assert asked - made == set()
    assert f"#define HVO_PTE_PROBES ({probes})\n" in text
    assert f"BPF_ARRAY({SWITCH_MAP}, u64, 1);" in text
    assert "#define HVO_WALK_REUSE_ADDR (-1)\n" in text

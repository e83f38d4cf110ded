# SPDX-License-Identifier: Apache-2.0
import re
from dataclasses import replace

import pytest

from probes.backend import MODES
from probes.bpf.kernel_facts import KernelFacts, from_headers
from probes.bpf.layout import Layout
from probes.bpf.program import (
    SETTINGS_MAP,
    Setting,
    entry_points,
    needs_range_entry,
    source,
    wake_every,
)
from probes.kernel.btf import Btf
from probes.kernel.hooks import Hook, Role, StepHooks
from tests.probes.kernel.test_btf import FROM_7_1, kernel

BTF = Btf(kernel(FROM_7_1))
FACTS = KernelFacts(40, 8, 64, 10, 8, 16, False, -1)
RANGE = StepHooks("remap_range", (Hook("vmemmap_remap_range", Role.REMAP_RANGE, returns=True),))
FOLLOWED = StepHooks(
    "optimize",
    (
        Hook("plain", Role.OPTIMIZE, returns=True),
        Hook("caller", Role.OPTIMIZE),
        Hook("plain.part.0", Role.OPTIMIZE_RESULT, returns=True),
    ),
)


def test_the_entry_is_attached_before_the_return_of_each_hook() -> None:
    points = entry_points(FOLLOWED, BTF, fentry=False)
    assert [(point.symbol, point.at_return) for point in points] == [
        ("plain", False),
        ("plain", True),
        ("caller", False),
        ("caller", True),
        ("plain.part.0", False),
        ("plain.part.0", True),
    ]


def test_kprobes_read_arguments_from_registers() -> None:
    enter, leave = entry_points(RANGE, BTF, fentry=False)
    assert enter.text == (
        "int remap_range_0_enter(struct pt_regs *ctx) { on_range_enter(PT_REGS_PARM1(ctx), "
        "PT_REGS_PARM2(ctx), 0, PT_REGS_PARM3(ctx), 0, return_dropped(ctx)); return 0; }"
    )
    assert leave.text == (
        "int remap_range_0_return(struct pt_regs *ctx) "
        "{ on_range_exit(1, (int)PT_REGS_RC(ctx), PT_REGS_PARM3(ctx), 0); return 0; }"
    )


def test_trampolines_declare_the_parameters_of_the_function() -> None:
    enter, leave = entry_points(RANGE, BTF, fentry=True)
    assert enter.text == (
        "KFUNC_PROBE(vmemmap_remap_range, void *a0, void *a1, void *a2) "
        "{ on_range_enter((u64)a0, (u64)a1, 0, (u64)a2, 1, 0); return 0; }"
    )
    assert leave.text == (
        "KRETFUNC_PROBE(vmemmap_remap_range, void *a0, void *a1, void *a2, void *rc) "
        "{ on_range_exit(1, (int)(long)rc, (u64)a2, 1); return 0; }"
    )


@pytest.mark.parametrize("fentry", [False, True])
def test_the_return_value_of_a_void_function_is_not_read(fentry: bool) -> None:
    void = StepHooks("remap_range", (Hook("vmemmap_remap_range", Role.REMAP_RANGE),))
    _, leave = entry_points(void, BTF, fentry=fentry)
    assert "on_range_exit(0, 0, " in leave.text
    assert "PT_REGS_RC" not in leave.text
    assert "rc" not in leave.text.partition("{")[0]


def test_a_function_that_btf_does_not_describe_gets_a_kprobe() -> None:
    points = entry_points(FOLLOWED, BTF, fentry=True)
    assert not any(point.fentry for point in points)


@pytest.mark.parametrize(
    ("skips", "fentry", "in_range_mode"),
    [(True, True, True), (True, False, True), (False, False, True), (False, True, False)],
)
def test_range_entries_are_probed_only_if_needed(
    skips: bool, fentry: bool, in_range_mode: bool
) -> None:
    facts = replace(FACTS, walk_skips=skips)
    points = entry_points(RANGE, BTF, fentry=fentry)
    full, walked = (needs_range_entry(mode, False, facts, points) for mode in MODES)
    assert (full, walked) == (not fentry, in_range_mode)
    assert all(needs_range_entry(mode, True, facts, points) for mode in MODES)


def test_the_reader_is_woken_when_the_ring_is_half_full() -> None:
    ring = 1 << 24
    assert wake_every(ring, 1) == 65536
    for cpus in (1, 2, 3, 64, 8192):
        assert ring // 4 <= cpus * (wake_every(ring, cpus) + 1) * 104
        assert cpus * wake_every(ring, cpus) * 104 <= 0.55 * ring
    assert wake_every(1 << 12, 8192) == 1


@pytest.mark.parametrize(("mode", "probes"), [("full", 1), ("range", 0)])
def test_every_macro_that_the_program_uses_is_defined(mode: str, probes: int) -> None:
    text = source(
        FACTS, Layout((9,), 1, 1), 4096, (), mode=mode, stream=True, ranges=True, steps={"batch"}
    )
    code = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    asked = set(
        re.findall(r"\bHVO_[A-Z_]+\b(?!##)", code.partition("#include <uapi/linux/ptrace.h>")[2])
    )
    made = set(re.findall(r"#define (HVO_\w+)", text)) | set(re.findall(r"\t(HVO_\w+) =", text))
    assert asked - made == set()
    assert f"#define HVO_PTE_PROBES ({probes})\n" in text
    assert f"BPF_ARRAY({SETTINGS_MAP}, struct settings, 1);" in text
    names = ", ".join(f"SETTING_{setting.name}" for setting in Setting)
    assert f"enum {{ {names}, SETTINGS }};" in text
    assert "#define HVO_WALK_REUSE_ADDR (-1)\n" in text


def test_without_btf_the_source_uses_the_kernel_headers() -> None:
    facts = from_headers("6.1.0-test #1 SMP", "full")
    text = source(
        facts, Layout((9,), 1, 1), 4096, (), mode="full", stream=False, ranges=True, steps=()
    )
    assert text.startswith("/* From the headers of 6.1.0-test #1 SMP. */\n#include <linux/")
    assert "#define HVO_HSTATE_ORDER (__builtin_offsetof(struct hstate, order))\n" in text
    assert "#define HVO_STRUCT_PAGE_SIZE (sizeof(struct page))\n" in text
    assert "#define HVO_WALK_REUSE_ADDR (-1)\n" in text

# SPDX-License-Identifier: Apache-2.0
"""Generation of the BPF program's source from a machine's files; compiles and attaches nothing.

The machine may be another one than the one that runs this code.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from probes.bpf.kernel_facts import FactsError, KernelFacts, from_btf, from_headers
from probes.bpf.layout import Layout
from probes.bpf.program import EntryPoint, entry_points, needs_range_entry, source, task_exit
from probes.geometry import Geometry
from probes.kernel.btf import Btf
from probes.kernel.hooks import StepHooks, select_hooks
from probes.kernel.host import Host, possible_cpus, possible_nodes, read_text
from probes.kernel.hugetlb_state import huge_page_sizes


class ComposeError(Exception):
    """The machine lacks something that the program needs; one line with the fix."""


@dataclass(frozen=True)
class Composition:
    """Source of a program, and the functions that its entry points attach to."""

    text: str
    steps: tuple[StepHooks, ...]
    points: Mapping[str, tuple[EntryPoint, ...]]
    """Entry points by step."""
    task_exit: EntryPoint
    layout: Layout
    page_size: int


def compose(
    host: Host,
    symbols: Mapping[str, int],
    btf: Btf | None,
    mode: str,
    *,
    stream: bool,
    fentry: bool,
    stacks: bool = False,
) -> Composition:
    """Generate the program for a machine. Raises ``ComposeError``."""
    page_size = os.sysconf("SC_PAGE_SIZE")
    facts = _kernel_facts(host, btf, mode)
    steps = select_hooks(symbols, mode, stream=stream, btf=btf)
    layout = _layout(host, page_size)
    points = {step.step: entry_points(step, btf, fentry) for step in steps}
    range_points = points.get("remap_range", ())
    ranges = needs_range_entry(mode, stream, facts, range_points)
    if range_points and not ranges:
        points["remap_range"] = tuple(point for point in range_points if point.at_return)
    exit_point = task_exit(btf, fentry)
    text = source(
        facts,
        layout,
        page_size,
        [*(point for step in points.values() for point in step), exit_point],
        mode=mode,
        stream=stream,
        stacks=stacks,
        ranges=ranges,
        steps=points.keys(),
    )
    return Composition(text, steps, points, exit_point, layout, page_size)


def _kernel_facts(host: Host, btf: Btf | None, mode: str) -> KernelFacts:
    try:
        if btf is not None:
            return from_btf(btf, mode)
        version = read_text(host.proc / "sys/kernel/version") or ""
        return from_headers(f"{host.release} {version}".strip(), mode)
    except FactsError as error:
        raise ComposeError(str(error)) from error


def _layout(host: Host, page_size: int) -> Layout:
    try:
        sizes = huge_page_sizes(host)
        nodes, cpus = possible_nodes(host), possible_cpus(host)
    except (OSError, ValueError) as error:
        raise ComposeError(str(error)) from error
    if not sizes:
        raise ComposeError(
            f"{host.sys}/kernel/mm/hugepages lists no huge page size: "
            "the kernel needs CONFIG_HUGETLBFS and a CPU with huge pages"
        )
    geometry = Geometry(page_size)
    return Layout(
        orders=tuple(geometry.order(size) for size in sizes),
        nodes=max(nodes) + 1,
        cpus=max(cpus) + 1,
    )

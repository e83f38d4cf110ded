# SPDX-License-Identifier: Apache-2.0
"""From a machine's files to the text of its BPF program: nothing is compiled or attached here.

The machine need not be the one that this runs on.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from probes.bpf.kernel_facts import FactsError, KernelFacts, from_btf, from_headers
from probes.bpf.layout import Layout
from probes.bpf.program import EntryPoint, entry_points, ranges_entered, source, task_exit
from probes.geometry import Geometry
from probes.kernel.btf import Btf
from probes.kernel.hooks import StepPlan, make_plan
from probes.kernel.host import Host, possible_cpus, possible_nodes, read_text
from probes.kernel.hugetlb_state import huge_page_sizes


class ComposeError(Exception):
    """The machine lacks what the program needs; one line with the fix."""


@dataclass(frozen=True)
class Composition:
    """A program's text, and what is to be attached where."""

    text: str
    plan: tuple[StepPlan, ...]
    points: Mapping[str, tuple[EntryPoint, ...]]
    """By step."""
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
) -> Composition:
    """Write the program for a machine. Raises ``ComposeError``."""
    page_size = os.sysconf("SC_PAGE_SIZE")
    known = _kernel_facts(host, btf, mode)
    plan = make_plan(symbols, mode, stream=stream, btf=btf)
    layout = _layout(host, page_size)
    points = {step.step: entry_points(step, btf, fentry) for step in plan}
    of_ranges = points.get("remap_range", ())
    ranges = ranges_entered(mode, stream, known, of_ranges)
    if of_ranges and not ranges:
        points["remap_range"] = tuple(point for point in of_ranges if point.at_return)
    at_exit = task_exit(btf, fentry)
    text = source(
        known,
        layout,
        page_size,
        [*(point for step in points.values() for point in step), at_exit],
        mode=mode,
        stream=stream,
        ranges=ranges,
        steps=points.keys(),
    )
    return Composition(text, plan, points, at_exit, layout, page_size)


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

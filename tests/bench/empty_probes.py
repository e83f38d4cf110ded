# SPDX-License-Identifier: Apache-2.0
"""Programs that only return 0, attached where hvoscope's are and by the same code.

What they cost is the kernel's own way into and out of its probes: no program can cost less. Those
that also read the clock where an operation begins and ends cost the least of all that time one.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from probes.bpf.assembly import assemble, call, leave, move_number
from probes.bpf.attach import Attacher
from probes.bpf.compose import compose
from probes.bpf.handover import FENTRY
from probes.bpf.object_code import Function, ObjectCode
from probes.bpf.program import EntryPoint
from probes.counters import PAGE_DURATIONS
from probes.kernel.btf import Btf
from probes.kernel.host import Host
from probes.kernel.kallsyms import read_symbols

_KTIME_GET_NS = 5
_RETURN_0 = Function(assemble([move_number(0, 0), leave()]), {})
_READ_CLOCK = Function(assemble([call(_KTIME_GET_NS), move_number(0, 0), leave()]), {})


@contextmanager
def empty_probes(mode: str, attach: str, *, clock: bool = False) -> Iterator[None]:
    """The hooks of ``mode`` and of one attach type, each with an empty program.

    ``clock``: those of a whole operation read the clock.

    Raises ``RuntimeError`` where one can't be attached.
    """
    host = Host()
    btf = Btf.read(host.sys / "kernel/btf/vmlinux")
    symbols = read_symbols(host.proc / "kallsyms")
    composition = compose(host, symbols, btf, mode, stream=False, fentry=attach == FENTRY)
    hooks = [*composition.points.values(), (composition.task_exit,)]
    functions = {_name(point): _RETURN_0 for points in hooks for point in points}
    for timed in PAGE_DURATIONS if clock else ():
        points = composition.points[timed]
        functions |= {_name(p): _READ_CLOCK for p in points if p.symbol == points[0].symbol}
    program = ObjectCode({}, functions)
    attacher = Attacher(program, {}, btf, host.sys / "bus/event_source/devices/kprobe")
    descriptors: dict[str, int] = {}
    try:
        for step in composition.steps:
            for probe in attacher.attach(step, composition.points[step.step], descriptors):
                if not probe.attached:
                    raise RuntimeError(f"{probe.symbol}: {probe.reason}")
        attacher.attach_task_exit(composition.task_exit, descriptors)
        yield
    finally:
        for descriptor in descriptors.values():
            os.close(descriptor)


def _name(point: EntryPoint) -> str:
    """As BCC names a function of ``point``."""
    if not point.fentry:
        return point.name
    return f"{'kretfunc' if point.at_return else 'kfunc'}__{point.symbol}"

# SPDX-License-Identifier: Apache-2.0
"""Reject a selection that no event can match, before a command waits for one endlessly."""

import re
from collections.abc import Collection, Iterator
from fnmatch import fnmatchcase

from exporter.trace.selection import Selection
from probes.backend import Backend
from probes.geometry import size_label
from probes.kernel.host import Host
from probes.observation import POOLS, PROBES, Pool, Pools, Status, known

_COMM_BYTES = 15
"""TASK_COMM_LEN of include/linux/sched.h, less its final zero."""
_PID_MAX = 1 << 22
"""PID_MAX_LIMIT of include/linux/threads.h, on 64-bit systems."""
_FIRST_PID_NAMESPACE = "pid:[4026531836]"
"""PROC_PID_INIT_INO of include/linux/proc_ns.h."""


class ImpossibleError(ValueError):
    """Nothing can match; the message is one line with the possible values."""


def check_possible(selection: Selection, backend: Backend, host: Host) -> None:
    """Compare a selection with a started backend. Raises ``ImpossibleError``.

    Anything that the machine does not show is assumed possible. ``host`` is used only for the tasks
    of a live kernel.
    """
    observation = backend.observe((PROBES, POOLS))
    pools = known(observation.pools) or Pools()  # serve and check report why they can't be read
    for problem in (
        *_sizes_and_nodes(selection, pools.by_node),
        *_steps(selection.steps, observation.status),
        *_comms(selection.comms),
        *_pids(selection.pids, host if backend.info.backend == "bcc" else None),
    ):
        raise ImpossibleError(problem)


def _sizes_and_nodes(selection: Selection, pools: Collection[Pool]) -> Iterator[str]:
    sizes, nodes = sorted({p.size for p in pools}), sorted({p.node for p in pools})
    if not pools:
        return
    for size in selection.sizes:
        if size not in sizes:
            expected = ", ".join(map(size_label, sizes))
            yield f"--size {size_label(size)}: no huge pages of this size (expected {expected})"
    for node in selection.nodes:
        if node not in nodes:
            expected = ", ".join(map(str, nodes))
            yield f"--node {node}: no huge pages on this node (expected {expected})"


def _steps(steps: Collection[str], status: Status) -> Iterator[str]:
    """Require one attached probe only: a script may name the steps of several kernels."""
    attached = [probe.step for probe in status.probes if probe.attached]
    if steps and not set(steps) & set(attached):
        reasons = {probe.step: probe.reason for probe in status.probes}
        step = next(iter(steps))
        reason = reasons.get(step) or "this kernel has no such step"
        yield f"--step {step}: not attached: {reason} (attached: {', '.join(attached) or 'none'})"


def _comms(comms: Collection[str]) -> Iterator[str]:
    for comm in comms:
        # Count the minimum length of the pattern. A backslash escapes a byte that is not text.
        if "\\" not in comm and len(re.sub(r"\[!?\]?[^]]*\]|\?", "x", comm.replace("*", ""))) > (
            _COMM_BYTES
        ):
            short = comm[:_COMM_BYTES]
            meant = f" (try {short!r})" if fnmatchcase(short, short) else ""
            yield f"--comm {comm!r}: task names have at most {_COMM_BYTES} bytes{meant}"


def _pids(pids: Collection[int], host: Host | None) -> Iterator[str]:
    for pid in pids:
        if pid > _PID_MAX or (host and _is_gone(pid, host)):
            yield f"--pid {pid}: no such process or thread"


def _is_gone(pid: int, host: Host) -> bool:
    """Tell whether the kernel has no such task; False where /proc does not show all tasks."""
    try:
        all_of_them = (host.proc / "self/ns/pid").readlink().name == _FIRST_PID_NAMESPACE
        return all_of_them and not (host.proc / str(pid) / "stat").exists()
    except OSError:
        return False

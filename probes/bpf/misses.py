# SPDX-License-Identifier: Apache-2.0
"""Probe hits that the kernel dropped, by step; each is counted exactly once.

================== =============================================================================
dropped hit         counted by
================== =============================================================================
trampoline          the kernel, per program (recursion_misses, Linux 5.12)
kprobe, entry       the kernel since 6.7, per program and per link (nmissed); not counted before
kprobe, return      the BPF program at the entry (return_dropped in hvo_kernel.h), so that each
                    lost operation is counted once; otherwise the kernel since 6.7
================== =============================================================================
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from probes.bpf import perf_kprobe
from probes.bpf.handover import AT_RETURN, KPROBE
from probes.kernel.host import read_text


def missed_hits(
    step: str,
    descriptors: Mapping[str, int],
    own: int | None,
    proc: Path,
    of_link: Callable[[int], int | None] = perf_kprobe.missed,
) -> int | None:
    """Number of dropped hits of ``step``; None if they can't be counted.

    ``descriptors`` are those of the handover. ``own`` is the number of dropped kprobe returns that
    the BPF program counted; None if it can't detect them.
    """
    programs = _starting_with(f"program:{step}:", descriptors)
    kprobes = _starting_with(f"link:{step}:{KPROBE}:", descriptors)
    if not kprobes:
        own = None
    counts = [recursion_misses(proc, descriptor) for descriptor in programs.values()]
    for name, descriptor in kprobes.items():
        if own is None or not name.endswith(AT_RETURN):
            counts.append(of_link(descriptor))
    known = [count for count in counts if count is not None]
    if len(known) < len(counts):
        return own
    return sum(known) + (own or 0)


def recursion_misses(proc: Path, program: int) -> int | None:
    """Hits at which the kernel did not run a program; None before Linux 5.12.

    ``program`` is a descriptor of this process (kernel/bpf/syscall.c, bpf_prog_show_fdinfo).
    """
    for line in (read_text(proc / f"self/fdinfo/{program}") or "").splitlines():
        if line.startswith("recursion_misses:"):
            return int(line.split()[1])
    return None


def _starting_with(prefix: str, descriptors: Mapping[str, int]) -> Mapping[str, int]:
    return {name: number for name, number in descriptors.items() if name.startswith(prefix)}

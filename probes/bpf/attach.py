# SPDX-License-Identifier: Apache-2.0
"""Load the entry points of a compiled program and attach them."""

import os
from collections.abc import Mapping
from pathlib import Path

from probes.bpf import load, perf_kprobe
from probes.bpf.handover import FENTRY, KPROBE
from probes.bpf.object_code import ObjectCode
from probes.bpf.program import TASK_EXIT, EntryPoint
from probes.kernel.btf import Btf
from probes.kernel.hooks import StepHooks
from probes.observation import ProbeStatus


class AttachError(Exception):
    """A trampoline (fentry) could not be attached."""


class Attacher:
    """Loads and attaches the entry points of one compiled program."""

    def __init__(
        self, program: ObjectCode, maps: Mapping[str, int], btf: Btf | None, kprobe_pmu: Path
    ) -> None:
        """Use the descriptors of ``maps`` by name.

        ``btf`` has the functions of trampolines; ``kprobe_pmu`` is
        /sys/bus/event_source/devices/kprobe.
        """
        self._btf = btf
        self._program = program
        self._maps = maps
        self._kprobe_pmu = kprobe_pmu

    def attach(
        self, step: StepHooks, points: tuple[EntryPoint, ...], descriptors: dict[str, int]
    ) -> list[ProbeStatus]:
        """Attach all hooks of a step, or none; return the status of each function.

        Adds the descriptors of links and programs to ``descriptors``. Raises ``AttachError`` if a
        trampoline can't be attached.
        """
        if not step.hooks:
            return [ProbeStatus(step.step, False, reason=step.reason)]
        reason = self._attach_all(step.step, points, descriptors)
        how = {point.symbol: FENTRY if point.fentry else KPROBE for point in points}
        return [
            ProbeStatus(step.step, not reason, h.symbol, "" if reason else how[h.symbol], reason)
            for h in step.hooks
        ]

    def attach_task_exit(self, point: EntryPoint, descriptors: dict[str, int]) -> str:
        """Attach the task exit probe; return why it can't be attached, empty if it is."""
        try:
            return self._attach_all(TASK_EXIT, (point,), descriptors)
        except AttachError as error:
            return str(error)

    def _attach_all(
        self, step: str, points: tuple[EntryPoint, ...], descriptors: dict[str, int]
    ) -> str:
        made: dict[str, int] = {}
        reason = ""
        for point in points:
            try:
                made |= self._attach_point(step, point)
            except (OSError, LookupError) as error:
                reason = _one_line(error)
                if point.fentry:
                    raise AttachError(reason) from error
                break
        if reason:
            for descriptor in made.values():
                os.close(descriptor)
        else:
            descriptors.update(made)
        return reason

    def _attach_point(self, step: str, point: EntryPoint) -> dict[str, int]:
        """Load and attach one entry point; return its descriptors.

        The probe stays attached as long as the link's descriptor is open.
        """
        name = self._trampoline_name(point) if point.fentry else point.name
        code = self._program.functions[name].bound_to(self._maps)
        if point.fentry:
            function = self._btf.function_id(point.symbol) if self._btf else 0
            program = load.load_program(
                load.TRACING, code, point.symbol, function=function, at_return=point.at_return
            )
        else:
            program = load.load_program(load.KPROBE, code, point.name)
        try:
            link = self._attach_program(program, point)
        except OSError:
            os.close(program)
            raise
        kind = FENTRY if point.fentry else KPROBE
        return {
            f"link:{step}:{kind}:{point.name}": link,
            f"program:{step}:{kind}:{point.name}": program,
        }

    def _attach_program(self, program: int, point: EntryPoint) -> int:
        if point.fentry:
            return load.attach_trampoline(program, point.symbol)
        try:
            return perf_kprobe.attach(
                program, point.symbol, at_return=point.at_return, pmu=self._kprobe_pmu
            )
        except OSError as error:
            what = f"the kernel refused a kprobe on {point.symbol} ({error.strerror or error})"
            raise OSError(error.errno, what) from error

    def _trampoline_name(self, point: EntryPoint) -> str:
        """Name that BCC's macro generated for the symbol; later releases insert the module name."""
        prefix = "kretfunc__" if point.at_return else "kfunc__"
        for name in (prefix + point.symbol, f"{prefix}vmlinux__{point.symbol}"):
            if name in self._program.functions:
                return name
        raise LookupError(f"BCC generated no trampoline for {point.symbol}")


def _one_line(error: OSError | LookupError) -> str:
    message = error.strerror if isinstance(error, OSError) else None
    return " ".join((message or str(error)).split()) or repr(error)

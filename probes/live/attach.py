# SPDX-License-Identifier: Apache-2.0
"""Attach the entry points of a compiled program, step by step, through BCC's own library."""

import os
from types import ModuleType
from typing import Any

from probes.backend import ProbeStatus
from probes.live.handover import FENTRY, KPROBE
from probes.live.plan import StepPlan
from probes.live.program import EntryPoint


class AttachError(Exception):
    """A trampoline could not be attached."""


class Attacher:
    """Attaches entry points of one compiled program."""

    def __init__(self, bcc: ModuleType, bpf: Any) -> None:
        self._bcc = bcc
        self._bpf = bpf

    def attach(
        self, step: StepPlan, points: tuple[EntryPoint, ...], descriptors: dict[str, int]
    ) -> list[ProbeStatus]:
        """Attach a whole step or nothing of it, a status for each function.

        Descriptors of links and programs go to ``descriptors``. Raises ``AttachError`` for a
        trampoline.
        """
        if not step.hooks:
            return [ProbeStatus(step.step, False, reason=step.reason)]
        made: dict[str, int] = {}
        reason = ""
        for point in points:
            try:
                made |= self._attach_point(step.step, point)
            except Exception as error:  # BCC raises bare Exception
                if point.fentry:
                    raise AttachError(f"{point.symbol}: {_one_line(error)}") from error
                reason = f"{point.symbol}: {_one_line(error)}"
                break
        if reason:
            for descriptor in made.values():
                os.close(descriptor)
        else:
            descriptors.update(made)
        how = {point.symbol: FENTRY if point.fentry else KPROBE for point in points}
        return [
            ProbeStatus(step.step, not reason, h.symbol, "" if reason else how[h.symbol], reason)
            for h in step.hooks
        ]

    def _attach_point(self, step: str, point: EntryPoint) -> dict[str, int]:
        """Load and attach; descriptors of the link, which keeps it attached, and the program."""
        if point.fentry:
            program = self._bpf.load_func(self._trampoline_name(point), self._bcc.BPF.TRACING)
            link = self._bcc.lib.bpf_attach_kfunc(program.fd)
        else:
            name = point.name.encode()
            program = self._bpf.load_func(name, self._bcc.BPF.KPROBE)
            # No offset; the kernel's own maxactive, since any other goes through tracefs.
            link = self._bcc.lib.bpf_attach_kprobe(
                program.fd, int(point.at_return), name, point.symbol.encode(), 0, 0
            )
        if link < 0:
            raise OSError("the kernel refused it (inlined, not traceable, or out of memory)")
        return {f"link:{point.name}": link, f"program:{step}:{point.name}": program.fd}

    def _trampoline_name(self, point: EntryPoint) -> bytes:
        """What BCC's macro made of the symbol: later releases put the module's name between."""
        prefix = b"kretfunc__" if point.at_return else b"kfunc__"
        symbol = point.symbol.encode()
        lib, module = self._bcc.lib, self._bpf.module
        for number in range(lib.bpf_num_functions(module)):
            name: bytes = lib.bpf_function_name(module, number)
            if name in (prefix + symbol, prefix + b"vmlinux__" + symbol):
                return name
        raise LookupError(f"BCC made no trampoline for {point.symbol}")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or repr(error)

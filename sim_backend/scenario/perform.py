# SPDX-License-Identifier: Apache-2.0
"""Do to a simulated kernel what an action says."""

from collections.abc import Callable, Mapping

from probes.geometry import is_power_of_two, size_label
from probes.operations import Operation
from sim_backend.kernel.errors import OperationError
from sim_backend.kernel.sim_kernel import SimKernel
from sim_backend.scenario.actions import Action


def perform(kernel: SimKernel, action: Operation | Action) -> None:
    """Do it.

    Raises ``OperationError`` for what is impossible, wholly or in part, and for ``lose`` and
    ``restart``, which happen to the backend (``SimBackend.perform``).
    """
    if isinstance(action, Operation):
        kernel.operate(action)
        return
    if action.verb not in _ACTS:
        raise OperationError(f"{action}: this happens to a backend, not to a kernel")
    try:
        _ACTS[action.verb](kernel, action)
    except OperationError:
        raise
    except ValueError as error:
        raise OperationError(f"{action}: {error}") from None


def _resize(kernel: SimKernel, action: Action) -> None:
    pools = {h.size: h.persistent_huge_pages for h in kernel.machine.hstates}
    if action.size not in pools:
        sizes = ", ".join(map(size_label, sorted(pools)))
        raise OperationError(f"{action}: this kernel has huge pages of {sizes}")
    change = int(action.amount) - pools[action.size]
    if change:
        kernel.operate(Operation("grow" if change > 0 else "shrink", action.size, abs(change)))


def _operate(kernel: SimKernel, action: Action) -> None:
    kernel.operate(Operation(action.verb, action.size, int(action.amount)))


def _pressure(kernel: SimKernel, action: Action) -> None:
    kernel.release_memory()
    if action.size:
        for node in range(kernel.nodes):
            kernel.hold_memory(node, leave=action.size // kernel.geometry.page_size)


def _fragment(kernel: SimKernel, action: Action) -> None:
    frames = action.size // kernel.geometry.page_size
    if not is_power_of_two(frames):
        raise OperationError(f"{action}: the pieces must be a power of two of pages")
    kernel.release_memory()
    for node in range(kernel.nodes):
        kernel.machine.memory.scatter(node, frames.bit_length() - 1)


def _has_step(kernel: SimKernel, action: Action) -> str:
    if action.step not in kernel.generation.symbols:
        raise OperationError(f"{action}: kernel {kernel.generation.name} has no such step")
    return action.step


def _slow(kernel: SimKernel, action: Action) -> None:
    kernel.machine.clock.slowdown = action.amount


_ACTS: Mapping[str, Callable[[SimKernel, Action], object]] = {
    "resize": _resize,
    "take": lambda kernel, a: kernel.take(a.size, int(a.amount)),
    "give": lambda kernel, a: kernel.give(a.size, int(a.amount)),
    "reserve": _operate,
    "unreserve": _operate,
    "dissolve": _operate,
    "pressure": _pressure,
    "fragment": _fragment,
    "detach": lambda kernel, a: kernel.machine.trace.detach_probe(_has_step(kernel, a)),
    "miss": lambda kernel, a: kernel.machine.trace.miss(_has_step(kernel, a), int(a.amount)),
    "clock": lambda kernel, a: kernel.machine.clock.step(a.amount),
    "slow": _slow,
}

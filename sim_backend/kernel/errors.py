# SPDX-License-Identifier: Apache-2.0
"""What can go wrong in the simulated machine, and the kernel's own assertions."""


class KernelBug(Exception):  # noqa: N818 - the kernel's word for it
    """A BUG_ON or VM_BUG_ON fired; the message is its condition as the kernel source has it."""


class OperationError(ValueError):
    """An operation was impossible, wholly or from some page on.

    ``done`` huge pages were done before that. A real kernel keeps silent about the rest:
    writing nr_hugepages succeeds and the pool just ends up smaller than asked for.
    """

    def __init__(self, message: str, done: int = 0) -> None:
        super().__init__(message)
        self.done = done


class ConservationError(Exception):
    """The accounting does not add up: a frame was lost, made up, or counted twice."""


def bug_on(condition: bool, text: str) -> None:
    """BUG_ON (include/asm-generic/bug.h): raise ``KernelBug`` with ``text`` if ``condition``."""
    if condition:
        raise KernelBug(f"BUG_ON({text})")


def vm_bug_on(condition: bool, text: str) -> None:
    """VM_BUG_ON (include/linux/mmdebug.h), as with CONFIG_DEBUG_VM."""
    if condition:
        raise KernelBug(f"VM_BUG_ON({text})")


def vm_bug_on_page(condition: bool, text: str) -> None:
    """VM_BUG_ON_PAGE (include/linux/mmdebug.h), as with CONFIG_DEBUG_VM."""
    if condition:
        raise KernelBug(f"VM_BUG_ON_PAGE({text}, page)")

# SPDX-License-Identifier: Apache-2.0
"""Which stacks a block of records names."""

from probes.events import Event, unpack_all


def stack_numbers(records: bytes) -> set[int]:
    """Return the numbers of all stacks of back-to-back records."""
    return set(map(_stack, unpack_all(records))) - {0}


def _stack(event: Event) -> int:
    return event.stack

# SPDX-License-Identifier: Apache-2.0
"""Find where records are missing from a stream: each CPU numbers its own, without gaps."""

from collections.abc import Iterator
from struct import Struct
from typing import NamedTuple

from probes.events import FIELDS


class Gap(NamedTuple):
    """So many records of ``cpu`` are missing."""

    cpu: int
    events: int


def _only(*names: str) -> Struct:
    """The record's layout with every field but these passed over."""
    codes = (code if name in names else f"{Struct(f'<{code}').size}x" for name, code in FIELDS)
    return Struct("<" + "".join(codes))


_NUMBERS = _only("sequence", "cpu")


class GapFinder:
    """Follows one stream from its first record on."""

    def __init__(self) -> None:
        """A stream begins with number 0 on every CPU."""
        self._following: dict[int, int] = {}
        self.events = 0
        """Records known to be missing so far."""

    def gaps(self, block: bytes) -> Iterator[tuple[int, Gap]]:
        """Gaps in the next block, each with the number of the record before which it is."""
        following = self._following
        for number, (sequence, cpu) in enumerate(_NUMBERS.iter_unpack(block)):
            missing = sequence - following.get(cpu, 0)
            following[cpu] = sequence + 1
            if missing > 0:
                self.events += missing
                yield number, Gap(cpu, missing)

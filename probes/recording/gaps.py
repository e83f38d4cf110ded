# SPDX-License-Identifier: Apache-2.0
"""Detection of missing records in a stream, by the sequence numbers of each CPU."""

from collections.abc import Iterator
from struct import Struct
from typing import NamedTuple

from probes.events import FIELDS


class Gap(NamedTuple):
    """Number of missing records of a CPU."""

    cpu: int
    events: int


def _struct_of(*names: str) -> Struct:
    """Return the record's layout with all other fields skipped."""
    codes = (code if name in names else f"{Struct(f'<{code}').size}x" for name, code in FIELDS)
    return Struct("<" + "".join(codes))


_NUMBERS = _struct_of("sequence", "cpu")


class GapFinder:
    """Finds the gaps of one stream, from its first record on."""

    def __init__(self) -> None:
        """Expect number 0 first on every CPU."""
        self._expected: dict[int, int] = {}
        self.events = 0
        """Missing records found so far."""

    def gaps(self, block: bytes) -> Iterator[tuple[int, Gap]]:
        """Yield the gaps in the next block, with the index of the record after each."""
        expected = self._expected
        for number, (sequence, cpu) in enumerate(_NUMBERS.iter_unpack(block)):
            missing = sequence - expected.get(cpu, 0)
            expected[cpu] = sequence + 1
            if missing > 0:
                self.events += missing
                yield number, Gap(cpu, missing)

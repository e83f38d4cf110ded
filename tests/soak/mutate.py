# SPDX-License-Identifier: Apache-2.0
"""Mutations of valid inputs, with a random seed, so that failures are reproducible."""

from collections.abc import Iterator, Sequence
from random import Random

NUMBERS = (b"0", b"-1", b"1_0", b"+7", b"0x10", b"007", b"65536", b"4294967296", b"9" * 30, b"1e9")


def mutations(
    seed: int, good: Sequence[bytes], number: int, words: Sequence[bytes] = ()
) -> Iterator[bytes]:
    """Yield ``number`` inputs: one of ``good`` with up to four mutations, some from ``words``."""
    random = Random(seed)
    for _ in range(number):
        data = random.choice(good)
        for _ in range(random.randint(1, 4)):
            data = _changed(random, data, (*NUMBERS, *words))
        yield data


def _changed(random: Random, data: bytes, words: Sequence[bytes]) -> bytes:
    begin = random.randint(0, len(data))
    end = min(len(data), begin + random.randint(1, 16))
    before, part, after = data[:begin], data[begin:end], data[end:]
    match random.randrange(6):
        case 0:  # replace a byte
            return before + bytes((random.randrange(256),)) + data[begin + 1 :]
        case 1:  # delete
            return before + after
        case 2:  # duplicate
            return before + part + part + after
        case 3:  # insert a word
            return before + random.choice(words) + data[begin:]
        case 4:  # overwrite with a word
            return before + random.choice(words) + after
        case _:  # truncate
            return before if random.random() < 0.2 else data

# SPDX-License-Identifier: Apache-2.0
"""Bad inputs made of good ones: seeded, so that what fails once fails again."""

from collections.abc import Iterator, Sequence
from random import Random

NUMBERS = (b"0", b"-1", b"1_0", b"+7", b"0x10", b"007", b"65536", b"4294967296", b"9" * 30, b"1e9")


def mutations(
    seed: int, good: Sequence[bytes], number: int, words: Sequence[bytes] = ()
) -> Iterator[bytes]:
    """``number`` inputs, each one of ``good`` with up to four changes; ``words`` get mixed in."""
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
        case 0:  # one other byte
            return before + bytes((random.randrange(256),)) + data[begin + 1 :]
        case 1:  # less
            return before + after
        case 2:  # twice
            return before + part + part + after
        case 3:  # something that means something
            return before + random.choice(words) + data[begin:]
        case 4:  # the same, instead of what was there
            return before + random.choice(words) + after
        case _:  # cut short
            return before if random.random() < 0.2 else data

# SPDX-License-Identifier: Apache-2.0
from probes.kernel.symbolize import Symbols
from probes.live.stacks import Stacks

SYMBOLS = Symbols([(0x1000, "outer"), (0x2000, "hooked"), (0x3000, "bpf_prog")])


class Map:
    """A map of one entry that counts its reads."""

    def __init__(self) -> None:
        self.reads = 0

    def lookup(self, number: int) -> tuple[int, ...]:
        self.reads += 1
        if number != 22:
            raise FileNotFoundError
        return (0x3010, 0x2005, 0x1017)


def test_a_stack_is_named_from_the_hooked_function_on_and_read_once() -> None:
    stored = Map()
    stacks = Stacks(stored.lookup, SYMBOLS, {"hooked"})
    for _ in range(2):
        assert stacks.frames(23) == ("hooked+0x5", "outer+0x17")
    assert stored.reads == 1


def test_a_stack_that_is_gone_has_no_frames() -> None:
    assert Stacks(Map().lookup, SYMBOLS, {"hooked"}).frames(24) == ()

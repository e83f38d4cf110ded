# SPDX-License-Identifier: Apache-2.0
"""When the commands that read the event stream stop."""

import itertools
import threading
from collections.abc import Iterator

from exporter.cli.stream_notes import end_condition, until


def test_what_came_before_the_end_is_read_after_it() -> None:
    stop = threading.Event()
    later = iter([b"arrived before the end", b"arrived after it"])

    def stopped_after_its_first() -> Iterator[bytes]:
        yield b"first"
        stop.set()
        yield b""
        yield from later

    read = list(until(stopped_after_its_first(), end_condition(stop, None)))
    assert read == [b"first", b"", b"arrived before the end"]
    assert next(later) == b"arrived after it"


def test_a_stream_that_ends_before_is_read_whole() -> None:
    assert list(until([b"first", b"last"], lambda: False)) == [b"first", b"last"]


def test_an_end_before_the_first_block_reads_two() -> None:
    endless = (b"%d" % number for number in itertools.count())
    assert list(until(endless, lambda: True)) == [b"0", b"1"]

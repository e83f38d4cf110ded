# SPDX-License-Identifier: Apache-2.0
"""The list of frames, against one that holds each of them."""

from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim_backend.kernel.frame_list import FrameList

# Each addition has frames of its own, up or down, so that none is on the list twice.
steps = st.lists(
    st.tuples(st.sampled_from(["add", "add_tail", "take", "remove"]), st.integers(1, 9)),
    max_size=30,
)


@settings(deadline=None)
@given(steps)
def test_it_is_a_list(todo: list[tuple[str, int]]) -> None:
    frames, model = FrameList(), deque[int]()
    for at, (verb, count) in enumerate(todo):
        run = range(at * 100, at * 100 + count)[:: 1 if count % 2 else -1]
        if verb == "add":
            frames.add(run)
            for pfn in run:
                model.appendleft(pfn)
        elif verb == "add_tail":
            frames.add_tail(run)
            model.extend(run)
        elif verb == "take" and len(model) >= count:
            taken = [pfn for part in frames.take(count) for pfn in part]
            assert taken == [model.popleft() for _ in range(count)]
        elif verb == "remove" and model:
            gone = model[count % len(model)]
            model.remove(gone)
            frames.remove(gone)
        assert list(frames) == list(model)
        assert len(frames) == len(model)
        assert bool(frames) == bool(model)
    assert [pfn for part in frames.take_all() for pfn in part] == list(model)
    assert not frames


def test_more_than_there_are() -> None:
    frames = FrameList()
    frames.add_tail(range(3))
    with pytest.raises(IndexError):
        list(frames.take(4))


def test_a_frame_that_is_not_there() -> None:
    with pytest.raises(ValueError, match="frame 0x2a is not on the list"):
        FrameList().remove(42)

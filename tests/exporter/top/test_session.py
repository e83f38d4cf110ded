# SPDX-License-Identifier: Apache-2.0
"""The sampling loop, on a test clock and with scripted keys."""

import io
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import pytest
from rich.console import Console

from exporter.top.keyboard import SUSPEND, Keyboard
from exporter.top.screen import View
from exporter.top.session import press, run_plain, run_screen
from probes.observation import Observation
from tests.exporter.top.observations import INFO, at, counted


class Scripted(Keyboard):
    """Keys from a list, one entry per wait; an empty entry lets time pass."""

    def __init__(self, keys: Iterable[str] = ()) -> None:
        super().__init__(None)
        self._keys = iter(keys)
        self.now = 100.0

    def wait(self, seconds: float) -> str:
        pressed = next(self._keys, "")
        if not pressed:
            self.now += seconds
        return pressed

    def clock(self) -> float:
        return self.now


class Source:
    """A source with 23 more huge pages optimized in each observation."""

    def __init__(self, keys: Scripted) -> None:
        self._keys = keys
        self.samples = 0

    def __call__(self) -> Observation:
        self.samples += 1
        return at(self._keys.now, counted(hugepages_optimized=23 * self.samples))


def screen(keys: Scripted, *, count: int | None = None) -> tuple[str, int]:
    """Return the terminal's output and the number of samples taken."""
    console = Console(file=io.StringIO(), force_terminal=True, width=80, height=24)
    source = Source(keys)
    run_screen(source, INFO, View(), console, keys, clock=keys.clock, count=count)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue(), source.samples


def test_one_sample_per_interval() -> None:
    keys = Scripted()
    shown, samples = screen(keys, count=5)
    assert samples == 5
    assert keys.now == pytest.approx(104.0)
    assert "optimized          23      23" in shown
    assert "\x1b[?1049h" in shown  # the alternate screen, and back
    assert "\x1b[?1049l" in shown


def test_q_quits_at_once() -> None:
    keys = Scripted(["", "", "q"])
    _, samples = screen(keys)
    assert samples == 1
    assert keys.now < 101


def test_a_pause_takes_no_samples() -> None:
    shown, samples = screen(Scripted(["p", *[""] * 40, "q"]))
    assert samples == 1
    assert "PAUSED" in shown


def test_sampling_resumes_after_a_pause() -> None:
    shown, samples = screen(Scripted(["p", *[""] * 40, " ", *[""] * 9, "q"]))
    assert samples == 3
    assert shown.count("PAUSED") == 1


def test_a_key_takes_effect_before_the_next_sample() -> None:
    shown, samples = screen(Scripted(["s", "r", "w", "q"]))
    assert samples == 1
    assert "sort: node down" in shown
    assert "latency: 1 min" in shown


def test_the_help_page_replaces_the_numbers_and_returns() -> None:
    shown, _ = screen(Scripted(["?", "h", "q"]))
    first, page, again = shown.split("hvoscope top")[1:]
    assert "PER SECOND" in first and "PER SECOND" in again
    assert "PER SECOND" not in page
    assert "Ctrl-Z" in page


def test_sampling_does_not_catch_up_after_a_suspension() -> None:
    class Suspended(Scripted):
        def suspend(self) -> None:
            self.now += 3600

    _, samples = screen(Suspended([*[""] * 5, SUSPEND, *[""] * 4, "q"]))
    assert samples == 4  # at 0 s, 1 s, then at the return and a second later


def test_keys() -> None:
    view = View()
    assert press(view, "") == press(view, "xyz\n") == view
    assert press(view, "p").paused
    assert press(view, "pp") == view
    assert press(press(view, "rw"), "rw") == view
    sorts = []
    for _ in range(7):
        sorts.append(view.sort)
        view = press(view, "s")
    assert sorts == ["size", "node", "total", "rate", "saved", "failed", "size"]


def test_lines_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    keys = Scripted()
    source = Source(keys)
    run_plain(source, INFO, 2.0, keys=keys, clock=keys.clock, count=3)
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split()[:4] == ["TIME", "SECONDS", "SAVED", "OPT/s"]
    assert [line.split()[1] for line in lines] == ["0.0", "2.0", "4.0"]
    assert [line.split()[3] for line in lines] == ["-", "11.5", "11.5"]
    assert source.samples == 3
    assert keys.now == 104.0


@contextmanager
def pipe() -> Iterator[tuple[Keyboard, io.FileIO]]:
    """Yield a keyboard that the test can write to."""
    reader, writer = os.pipe()
    with io.FileIO(reader, closefd=True), io.FileIO(writer, "w") as file:
        yield Keyboard(reader), file


def test_a_keyboard_returns_pressed_keys() -> None:
    with pipe() as (keyboard, file):
        assert keyboard.wait(0) == ""
        file.write(b"sr")
        assert keyboard.wait(10) == "sr"
        file.write(b"\x1b[A")
        assert keyboard.wait(10) == ""


def test_end_of_input_is_not_a_key() -> None:
    with pipe() as (keyboard, file):
        file.close()
        assert keyboard.wait(10) == ""
        assert keyboard.wait(0) == ""

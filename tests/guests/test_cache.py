# SPDX-License-Identifier: Apache-2.0
"""The cache: whole entries or none, made once."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from tests.guests.cache import Cache, default_root, digest


def test_an_entry_is_made_once(tmp_path: Path) -> None:
    made = []

    def make(into: Path) -> None:
        made.append(into)
        (into / "file").write_text("content")

    cache = Cache(tmp_path)
    first, second = cache.entry("name", make), cache.entry("name", make)
    assert first == second == tmp_path / "name"
    assert (first / "file").read_text() == "content"
    assert len(made) == 1


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    def fail(into: Path) -> None:
        (into / "half").touch()
        raise RuntimeError("no")

    cache = Cache(tmp_path)
    with pytest.raises(RuntimeError):
        cache.entry("name", fail)
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == []
    assert cache.entry("name", lambda into: (into / "whole").touch()).is_dir()


def test_leftovers_of_a_killed_run_are_removed(tmp_path: Path) -> None:
    (tmp_path / ".part-name-abc").mkdir()
    Cache(tmp_path).entry("name", lambda into: None)
    assert not (tmp_path / ".part-name-abc").exists()


def test_two_at_once_make_it_once(tmp_path: Path) -> None:
    inside, waiting, go_on = threading.Event(), threading.Event(), threading.Event()
    made = []

    def make(into: Path) -> None:
        made.append(into)
        inside.set()
        assert go_on.wait(60)

    cache = Cache(tmp_path, say=lambda _message: waiting.set())
    threads = [threading.Thread(target=cache.entry, args=("name", make)) for _ in range(2)]
    threads[0].start()
    assert inside.wait(60)
    threads[1].start()
    assert waiting.wait(60)
    go_on.set()
    for thread in threads:
        thread.join(60)
    assert len(made) == 1


def test_a_key_depends_on_every_input() -> None:
    key = digest(source="6.1.1", config="a", recipe=1)
    assert key == digest(recipe=1, config="a", source="6.1.1")
    others = [
        digest(source="6.1.2", config="a", recipe=1),
        digest(source="6.1.1", config="b", recipe=1),
        digest(source="6.1.1", config="a", recipe=2),
    ]
    assert len({key, *others}) == 4


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HVOSCOPE_CACHE", str(tmp_path / "own"))
    assert default_root() == tmp_path / "own"
    monkeypatch.delenv("HVOSCOPE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "users"))
    assert default_root() == tmp_path / "users/hvoscope"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_root() == tmp_path / ".cache/hvoscope"

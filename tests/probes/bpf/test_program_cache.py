# SPDX-License-Identifier: Apache-2.0
import os
import re
from pathlib import Path

import pytest

from probes.bpf.program_cache import (
    ProgramCache,
    has_programs,
    key_of,
    shipped,
    shipped_path,
)
from tests.probes.bpf.test_object_code import PROGRAM


def test_get_returns_the_cached_program(tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "hvoscope"
    cache = ProgramCache(folder)
    assert cache.get("a") is None
    assert cache.put("a", PROGRAM) == ""
    assert (cache.get("a"), cache.get("b")) == (PROGRAM, None)
    assert has_programs(folder)


def test_a_cache_without_folder_is_always_empty() -> None:
    cache = ProgramCache(None)
    assert cache.put("a", PROGRAM) == "no cache folder is set"
    assert cache.get("a") is None


def test_a_damaged_file_is_ignored(tmp_path: Path) -> None:
    cache = ProgramCache(tmp_path)
    cache.put("a", PROGRAM)
    whole = (tmp_path / "a.bpf").read_bytes()
    (tmp_path / "a.bpf").write_bytes(whole[:-1])
    assert cache.get("a") is None


@pytest.mark.parametrize("mode", [0o777, 0o775])
def test_a_folder_writable_by_others_is_not_used(tmp_path: Path, mode: int) -> None:
    cache = ProgramCache(tmp_path)
    cache.put("a", PROGRAM)
    tmp_path.chmod(mode)
    assert cache.get("a") is None
    assert "is owned or writable by another user" in cache.put("b", PROGRAM)


def test_a_file_writable_by_others_is_not_used(tmp_path: Path) -> None:
    cache = ProgramCache(tmp_path)
    cache.put("a", PROGRAM)
    (tmp_path / "a.bpf").chmod(0o666)
    assert cache.get("a") is None


def test_put_returns_why_the_folder_can_not_be_created(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "Not a directory" in ProgramCache(tmp_path / "file" / "cache").put("a", PROGRAM)


def test_only_the_newest_32_programs_are_cached(tmp_path: Path) -> None:
    cache = ProgramCache(tmp_path)
    for number in range(40):
        cache.put(str(number), PROGRAM)
        os.utime(tmp_path / f"{number}.bpf", (number, number))
    assert len(list(tmp_path.iterdir())) == 32
    assert cache.get("39") == PROGRAM
    assert cache.get("7") is None


def test_the_key_depends_on_source_machine_and_bcc_version() -> None:
    keys = {
        key_of("a", "x86_64", "0.26"),
        key_of("b", "x86_64", "0.26"),
        key_of("a", "aarch64", "0.26"),
        key_of("a", "x86_64", "0.31"),
    }
    assert len(keys) == 4


def test_a_program_compiled_elsewhere_is_found_by_its_source_alone(tmp_path: Path) -> None:
    key = key_of("text", "x86_64")
    shipped_path(tmp_path, key).write_bytes(PROGRAM.dump())
    assert shipped(tmp_path, key) == PROGRAM
    assert shipped(tmp_path, key_of("other text", "x86_64")) is None
    assert shipped(tmp_path, key_of("text", "aarch64")) is None
    assert shipped(tmp_path / "nowhere", key) is None
    assert shipped(None, key) is None


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (PROGRAM.dump()[:-1], "can't be used (the checksum does not match): compile it again"),
        (b"", "can't be used (the checksum does not match)"),
        (PROGRAM.dump().replace(b"counters", b"counterz"), "the checksum does not match"),
    ],
)
def test_a_damaged_one_is_named(tmp_path: Path, content: bytes, says: str) -> None:
    path = shipped_path(tmp_path, "key")
    path.write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(str(path))) as raised:
        shipped(tmp_path, "key")
    assert says in str(raised.value)


@pytest.mark.parametrize("writable", ["folder", "file"])
def test_one_that_others_could_have_written_is_not_used(tmp_path: Path, writable: str) -> None:
    folder = tmp_path / "programs"
    folder.mkdir()
    path = shipped_path(folder, "key")
    path.write_bytes(PROGRAM.dump())
    (folder if writable == "folder" else path).chmod(0o777)
    with pytest.raises(ValueError, match="owned or writable by another user"):
        shipped(folder, "key")

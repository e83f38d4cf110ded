# SPDX-License-Identifier: Apache-2.0
"""The guest's initramfs and QEMU's arguments, without booting anything."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.guests.cpio import Entry, archive
from tests.guests.guest import Job, command_script, initramfs, spec_script
from tests.guests.kernels import Kernel
from tests.guests.qemu import memory_arguments


def _kernel(*links: tuple[str, Path]) -> Kernel:
    return Kernel("x", "1.0", Path("/vmlinuz"), None, links)


def _names(data: bytes) -> list[tuple[str, int, bytes]]:
    """Name, mode and content of each record: the format read back the plain way."""
    found: list[tuple[str, int, bytes]] = []
    at = 0
    while True:
        assert data[at : at + 6] == b"070701"
        fields = [int(data[at + 6 + 8 * n : at + 14 + 8 * n], 16) for n in range(13)]
        mode, size, name_size = fields[1], fields[6], fields[11]
        name = data[at + 110 : at + 110 + name_size - 1].decode()
        at = (at + 110 + name_size + 3) // 4 * 4
        if name == "TRAILER!!!":
            return found
        found.append((name, mode, data[at : at + size]))
        at = (at + size + 3) // 4 * 4


def test_archive_reads_back_with_parents_first() -> None:
    data = archive([Entry("/a/b/c", b"12345", 0o755), Entry("d", b"")])
    assert len(data) % 512 == 0
    assert _names(data) == [
        ("a", 0o040755, b""),
        ("a/b", 0o040755, b""),
        ("a/b/c", 0o100755, b"12345"),
        ("d", 0o100644, b""),
    ]


def test_initramfs_holds_init_and_busybox(tmp_path: Path) -> None:
    busybox = tmp_path / "busybox"
    busybox.write_bytes(b"program")
    data = initramfs(_kernel(), Job(["true"], tmp_path, tmp_path), busybox)
    files = {name: content for name, mode, content in _names(data) if mode & 0o100000}
    assert files["bin/busybox"] == files["guest/busybox"] == b"program"
    assert files["init"].startswith(b"#!/bin/busybox sh\n")


@pytest.mark.parametrize("word", ["two words", "it's", '"', "$HOME", "a\nb", "", "*"])
def test_words_reach_the_command_as_they_are(tmp_path: Path, word: str) -> None:
    job = Job(["printf", "%s|", word, "end"], tmp_path, tmp_path, {"WORD": word})
    done = subprocess.run(["sh", "-c", command_script(job)], capture_output=True, check=True)
    assert done.stdout.decode() == f"{word}|end|"


def test_the_command_sees_only_its_own_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OF_THE_HOST", "1")
    job = Job(["env"], tmp_path, tmp_path, {"OWN": "a b", "HOME": "/elsewhere"})
    done = subprocess.run(["sh", "-c", command_script(job)], capture_output=True, check=True)
    lines = done.stdout.decode().splitlines()
    assert {"OWN=a b", "HOME=/elsewhere"} <= set(lines)
    assert not [line for line in lines if line.startswith("OF_THE_HOST")]


def test_spec_names_every_link(tmp_path: Path) -> None:
    kernel = _kernel(("/lib/modules/1.0/build", Path("/cache/with space")))
    script = spec_script(kernel, Job([], tmp_path, tmp_path))
    echo = 'link() { echo "$1 -> $2"; }; ' + script + "links"
    done = subprocess.run(["sh", "-c", echo], capture_output=True, check=True)
    assert done.stdout.decode() == "/lib/modules/1.0/build -> /cache/with space\n"


def test_memory_and_cpus_go_over_the_nodes_evenly() -> None:
    arguments = " ".join(memory_arguments(8192, 4, 2))
    assert "-m 8192M -smp 4,sockets=2" in arguments
    assert "id=mem0,size=4096M,share=on" in arguments
    assert "node,nodeid=0,cpus=0,cpus=1,memdev=mem0" in arguments
    assert "node,nodeid=1,cpus=2,cpus=3,memdev=mem1" in arguments


def test_a_node_may_have_only_memory() -> None:
    arguments = " ".join(memory_arguments(9 * 1024, 2, 2, bare_nodes=1))
    assert "-smp 2,sockets=2" in arguments
    assert "node,nodeid=1,cpus=1,memdev=mem1" in arguments
    assert "id=mem2,size=3072M" in arguments
    assert "node,nodeid=2,memdev=mem2" in arguments


@pytest.mark.parametrize(("memory", "cpus", "nodes"), [(1000, 2, 3), (1001, 2, 2), (1024, 1, 2)])
def test_what_cannot_be_split_is_refused(memory: int, cpus: int, nodes: int) -> None:
    with pytest.raises(ValueError, match="do not go over"):
        list(memory_arguments(memory, cpus, nodes))

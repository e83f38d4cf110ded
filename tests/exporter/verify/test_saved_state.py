# SPDX-License-Identifier: Apache-2.0
"""What a run changes is put back, and what a killed one left is named."""

from pathlib import Path

import pytest

from exporter.verify.saved_state import (
    BusyError,
    StateFile,
    differences,
    put_back,
    read_settings,
)
from probes.kernel.host import Host
from tests.probes.preflight_host import SYSCTL, machine

NODE = "sys/devices/system/node/node{}/hugepages/hugepages-2048kB/nr_hugepages"
OVERCOMMIT = "sys/kernel/mm/hugepages/hugepages-2048kB/nr_overcommit_hugepages"
FILES = {
    "sys/devices/system/node/online": "0-1\n",
    NODE.format(0): "23\n",
    NODE.format(1): "509\n",
    OVERCOMMIT: "5\n",
}


def test_switch_each_nodes_pools_and_overcommit_are_saved_in_the_order_of_putting_back(
    tmp_path: Path,
) -> None:
    settings = read_settings(machine(tmp_path, FILES))
    assert settings == {
        str(tmp_path / SYSCTL): 1,
        str(tmp_path / NODE.format(0)): 23,
        str(tmp_path / NODE.format(1)): 509,
        str(tmp_path / OVERCOMMIT): 5,
    }
    assert list(settings) == [str(tmp_path / p) for p in (SYSCTL, *list(FILES)[1:])]


def test_without_numa_the_machines_own_pools_are_saved(tmp_path: Path) -> None:
    pool = "sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"
    settings = read_settings(machine(tmp_path, {pool: "61\n", SYSCTL: None}))
    assert settings == {str(tmp_path / pool): 61}


def test_what_differs_is_put_back(tmp_path: Path) -> None:
    settings = read_settings(machine(tmp_path, FILES))
    (tmp_path / SYSCTL).write_text("0")
    (tmp_path / NODE.format(1)).write_text("532")
    (tmp_path / OVERCOMMIT).write_text("1009")
    assert len(differences(settings)) == 3
    assert put_back(settings) == ()
    assert read_settings(Host(proc=tmp_path / "proc", sys=tmp_path / "sys")) == settings


def test_what_cannot_be_put_back_is_named(tmp_path: Path) -> None:
    settings = read_settings(machine(tmp_path, FILES))
    gone = tmp_path / NODE.format(1)
    gone.unlink()
    gone.parent.rename(gone.parent.with_name("hidden"))
    assert put_back(settings) == (f"{gone} is unreadable, it was 509",)


def test_a_second_run_is_refused_by_the_pid_of_the_first(tmp_path: Path) -> None:
    path = tmp_path / "state"
    first = StateFile(path)
    first.save({"a": 1})
    with pytest.raises(BusyError, match=r"another hvoscope verify is running \(pid \d+\)"):
        StateFile(path)
    first.close()
    StateFile(path).close()


def test_a_killed_run_leaves_what_was_before_it(tmp_path: Path) -> None:
    path, pool = tmp_path / "state", tmp_path / "nr_hugepages"
    pool.write_text("28\n")
    killed = StateFile(path)
    killed.save({str(pool): 5})
    killed.close()  # the kernel closes it, and the lock goes
    found = StateFile(path)
    assert differences(found.leftover()) == (f"{pool} is 28, it was 5",)
    assert put_back(found.leftover()) == ()
    found.clear()
    assert (pool.read_text(), found.leftover()) == ("5", {})


@pytest.mark.parametrize("contents", ["", "{", "[]", '{"settings": 5}', '{"pid": 1}'])
def test_a_state_file_that_says_nothing_leaves_nothing(tmp_path: Path, contents: str) -> None:
    (tmp_path / "state").write_text(contents)
    assert StateFile(tmp_path / "state").leftover() == {}


def test_a_symbolic_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "state").symlink_to(tmp_path / "victim")
    with pytest.raises(OSError, match="symbolic links"):
        StateFile(tmp_path / "state")
    assert (tmp_path / "victim").read_text() == "precious"

# SPDX-License-Identifier: Apache-2.0
"""The container image: what is in it, what is not, and what it does without any privilege.

``tests/kernel/test_container.py`` attaches probes in it.
"""

import json
import os
import re
import signal
import socket
import stat
import subprocess
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.guests.cache import default_root
from tests.guests.progress import UnavailableError
from tests.kernel.test_counts import samples, total
from tests.packaging.image import ROOT, Image, buildah, container, provide, storage

pytestmark = pytest.mark.packaging

COMPILER = re.compile(
    r"(x86_64-linux-gnu-)?(cc|c\+\+|gcc|g\+\+|clang|clang\+\+|cpp|ld|as|make)(-\d+)?"
    r"|cc1|cc1plus|lib(LLVM|clang|bcc).*"
)
OF_THE_BUILD = re.compile(r"pip\d?|pip-.*|setuptools.*|wheel|\.git.*|\.cache|.*\.deb|conftest\.py")
MAX_MIB = 160
SCENARIO = """\
description = "Pools grow."
duration = "1m"
[machine]
kernel = "6.0"
nodes = 2
memory-per-node = "16GB"
[[step]]
at = "1s"
do = ["grow 2MB 23", "grow 2MB 509", "grow 1GB 1"]
"""
NO_CAPABILITY = {"CapInh": 0, "CapPrm": 0, "CapEff": 0, "CapAmb": 0}

_VERSIONS = """\
import json
from importlib.metadata import distributions
print(json.dumps({found.name: found.version for found in distributions()}))
"""


@pytest.fixture(scope="module")
def image() -> Image:
    if os.geteuid():
        pytest.skip("building the image without a registry needs root")
    try:
        return provide()[0]
    except UnavailableError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def env(image: Image) -> Iterator[dict[str, str]]:
    """An environment for buildah, whose storage has the image."""
    with storage() as env:
        buildah(env, "pull", "--quiet", image.archive)
        yield env


@pytest.fixture(scope="module")
def name(image: Image, env: dict[str, str]) -> Iterator[str]:
    """A container of the image."""
    with container(image.name, env) as name:
        yield name


@pytest.fixture(scope="module")
def files(image: Image) -> dict[Path, os.stat_result]:
    """Everything in the image, by the path in it."""
    found = {path.relative_to(image.root): path.lstat() for path in image.root.rglob("*")}
    assert Path("usr/bin/python3") in found
    return found


def named(files: dict[Path, os.stat_result], pattern: re.Pattern[str]) -> list[str]:
    return [str(path) for path in files if pattern.fullmatch(path.name)]


def test_it_serves_as_a_user_without_privileges(image: Image) -> None:
    config = image.config
    assert config["User"] == "65534:65534"  # a number, for Kubernetes' runAsNonRoot
    assert config["Entrypoint"] == ["hvoscope"]
    assert config["Cmd"] == ["serve", "--web.listen-address", ":10917"]
    assert config["ExposedPorts"] == {"10917/tcp": {}}


def test_there_is_no_compiler(files: dict[Path, os.stat_result]) -> None:
    programs = {path: found for path, found in files.items() if not stat.S_ISDIR(found.st_mode)}
    assert named(programs, COMPILER) == []
    own = Path("usr/local/lib")
    assert [str(path) for path in files if path.suffix == ".h" and own not in path.parents] == []
    assert not [path for path in files if path.is_relative_to("usr/src") and path.name != "src"]


def test_nothing_is_left_of_the_build(files: dict[Path, os.stat_result]) -> None:
    assert named(files, OF_THE_BUILD) == []
    assert not [
        path for path in files if path.is_relative_to("usr/local") and "tests" in path.parts
    ]
    for folder in ("source", "out", "var/lib/apt/lists", "var/cache", "var/log"):
        below = [path for path in files if Path(folder) in path.parents]
        assert [str(path) for path in below if stat.S_ISREG(files[path].st_mode)] == []


def test_no_file_gives_a_privilege(image: Image, files: dict[Path, os.stat_result]) -> None:
    regular = {path: found.st_mode for path, found in files.items() if stat.S_ISREG(found.st_mode)}
    assert [path for path, mode in regular.items() if mode & (stat.S_ISUID | stat.S_ISGID)] == []
    assert [path for path, mode in regular.items() if mode & stat.S_IWOTH] == []
    capable = "security.capability"
    assert [path for path in regular if capable in os.listxattr(image.root / path)] == []
    open_folders = {
        str(path): bool(found.st_mode & stat.S_ISVTX)
        for path, found in files.items()
        if stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_IWOTH
    }
    assert set(open_folders) <= {"tmp", "var/tmp", "run/lock", "dev/shm"}
    assert all(open_folders.values())
    assert {found.st_uid for path, found in files.items() if path.is_relative_to("usr")} == {0}


def test_no_file_names_the_machine_that_built_it(
    image: Image, files: dict[Path, os.stat_result]
) -> None:
    own = [str(path).encode() for path in (ROOT, default_root())]
    searched = 0
    for path, found in files.items():
        if stat.S_ISREG(found.st_mode):
            content = (image.root / path).read_bytes()
            assert not [text for text in own if text in content], path
            searched += 1
    assert searched > 1000


def test_the_modules_are_byte_compiled(files: dict[Path, os.stat_result]) -> None:
    own = [path for path in files if path.suffix == ".py" and path.is_relative_to("usr/local")]
    assert len(own) > 100
    bytecode = [path for path in files if path.suffix == ".pyc"]
    compiled = {path.parent.parent / path.name.split(".")[0] for path in bytecode}
    assert {path.with_suffix("") for path in own} <= compiled


def test_its_size_is_as_documented(files: dict[Path, os.stat_result]) -> None:
    used = {found.st_ino: found.st_blocks * 512 for found in files.values()}
    assert sum(used.values()) >> 20 < MAX_MIB
    assert f"less than {MAX_MIB} MiB" in (ROOT / "docs/container.md").read_text()


def test_every_dependency_is_there(env: dict[str, str], name: str) -> None:
    printed = json.loads(buildah(env, "run", name, "--", "python3", "-c", _VERSIONS))
    found = {canonicalize_name(name): version for name, version in printed.items()}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for requirement in map(Requirement, project["dependencies"]):
        assert requirement.specifier.contains(found[canonicalize_name(requirement.name)]), (
            requirement
        )
    assert printed["hvoscope"] == project["version"]


def test_a_simulated_kernel_is_counted_exactly(
    env: dict[str, str], name: str, tmp_path: Path
) -> None:
    scenario = tmp_path / "scenario.toml"
    scenario.write_text(SCENARIO)
    options = ("--backend", "sim", "--sim.scenario", "/scenario.toml", "--sim.time-scale", "max")
    mount = f"--volume={scenario}:/scenario.toml:ro"
    with serving(env, name, *options, mount=(mount,)) as (port, _):
        scrape = samples(wait_for(port, "/metrics", all_done))
    assert total(scrape, "hvo_hugepages_optimized_total", size="2MB") == 23 + 509
    for metric in ("hvo_ptes_remapped_total", "hvo_frames_freed_total"):
        assert total(scrape, metric, size="2MB") == 7 * (23 + 509)
        assert total(scrape, metric, size="1GB") == 4095


def test_state_without_any_capability(env: dict[str, str], name: str) -> None:
    with serving(env, name, "--backend", "state") as (port, pid):
        assert wait_for(port, "/-/ready", lambda text: text == "ready\n")
        status = dict(
            line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        )
        scrape = samples(get(port, "/metrics"))
    assert {key: int(status[key], 16) for key in NO_CAPABILITY} == NO_CAPABILITY
    assert status["Uid"].split() == ["65534"] * 4
    assert status["Gid"].split() == ["65534"] * 4
    assert status["NoNewPrivs"] == "1"
    for part in ("pools", "switch", "memmap"):
        assert total(scrape, "hvo_scrape_collector_success", collector=part) == 1


def test_probes_without_privileges_are_one_line_and_not_ready(
    env: dict[str, str], name: str
) -> None:
    with serving(env, name) as (port, _):
        answer = wait_for(port, "/-/ready", lambda text: "not ready: " in text)
    assert answer.count("\n") == 1


def all_done(scrape: str) -> bool:
    """Whether the last operation of the scenario, which is one for one page, is over."""
    done = re.compile(r'^hvo_hugepages_optimized_total\{.*size="1GB"\} 1\.0$', re.MULTILINE)
    return done.search(scrape) is not None


@contextmanager
def serving(
    env: dict[str, str], name: str, *options: str, mount: Sequence[str] = ()
) -> Iterator[tuple[int, int]]:
    """``hvoscope serve`` in the container: its port and its process, ended by SIGTERM."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    address = f"127.0.0.1:{port}"
    command = ["buildah", "run", *mount, name, "--", "hvoscope", "serve", *options]
    with subprocess.Popen([*command, "--web.listen-address", address], env=env) as process:
        wait_for(port, "/-/healthy", bool)
        pid = next(pid for pid in listening(address) if pid != process.pid)
        try:
            yield port, pid
        finally:
            os.kill(pid, signal.SIGTERM)
            assert process.wait(60) == 0


def listening(address: str) -> Iterator[int]:
    """Processes of hvoscope with that address on their command line."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        words = path.read_bytes().split(b"\0")
        if words[0].endswith(b"python3") and address.encode() in words:
            yield int(path.parent.name)


def get(port: int, path: str) -> str:
    """The body of a response, whatever its status; empty while nothing listens."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        return error.read().decode()
    except urllib.error.URLError:
        return ""


def wait_for(port: int, path: str, wanted: Callable[[str], object]) -> str:
    """The body of the first response that is as wanted; after two minutes, a failure."""
    until = time.monotonic() + 120
    while not wanted(body := get(port, path)):
        assert time.monotonic() < until, body
        time.sleep(0.1)
    return body

# SPDX-License-Identifier: Apache-2.0
"""The container image on a stock kernel, with no more privileges than the DaemonSet gives it.

The image with BCC compiles the programs, the one without loads them.
"""

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.guests import tools
from tests.guests.kernel_matrix import under_test
from tests.guests.kernels import Kernel, Kernels
from tests.guests.precompiled import known_names, tree_and_headers, with_programs
from tests.guests.qemu import run_in_guest
from tests.kernel.conftest import or_skip
from tests.kernel.container import Job, Way
from tests.kernel.expected import EXPECTED
from tests.kernel.test_counts import MEMORY_MIB, samples, total
from tests.packaging.image import ROOT, Image, buildah, container, provide, storage
from tests.packaging.seccomp import runtime_default

pytestmark = pytest.mark.kernel

GUEST_TIMEOUT_S = 1200
STOCK = [kernel_name for kernel_name in under_test() if kernel_name.startswith("debian")][:1]
OPERATIONS = ("hvo on", "grow 2MB 23", "grow 2MB 509", "grow 1GB 1")
PAGES = {"2MB": 23 + 509, "1GB": 1}

DAEMONSET = ROOT / "packaging/kubernetes/base/daemonset.yaml"
NOBODY = 65534
COUNTING = ("daemonset", "ambient")

Notes = Mapping[str, Any]


def daemonset() -> tuple[int, tuple[str, ...], list[str]]:
    """User, capabilities and arguments of the container with probes."""
    found = yaml.safe_load(DAEMONSET.read_text())["spec"]["template"]["spec"]["containers"][0]
    context = found["securityContext"]
    assert context["capabilities"]["drop"] == ["ALL"]
    return context["runAsUser"], tuple(context["capabilities"]["add"]), found["args"]


def ways() -> dict[str, Way]:
    """As the DaemonSet starts it, and as another user, to whom capabilities are ambient or not."""
    uid, capabilities, arguments = daemonset()
    filtered = runtime_default([f"CAP_{name}" for name in capabilities])
    serve = ("serve", "--web.listen-address")
    return {
        "daemonset": Way(10917, uid, capabilities, arguments, seccomp=filtered),
        "ambient": Way(10918, NOBODY, capabilities, (*serve, ":10918"), ambient=True),
        "user": Way(10919, NOBODY, capabilities, (*serve, ":10919")),
    }


@pytest.fixture(scope="module")
def images() -> tuple[Image, Image]:
    with or_skip():
        tools.require("crun")
        return provide()
    raise AssertionError("or_skip never returns after an error")


@pytest.fixture(scope="module", params=STOCK)
def kernel(request: pytest.FixtureRequest, kernels: Kernels) -> Kernel:
    kernel = kernels(request.param)
    with_programs(kernel)  # reads what the programs depend on; the image brings its own programs
    return kernel


@pytest.fixture(scope="module")
def programs(
    kernel: Kernel, images: tuple[Image, Image], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """What the image with BCC compiles for the guest."""
    into = tmp_path_factory.mktemp("programs")
    into.chmod(0o755)
    tree, headers = tree_and_headers(kernel)
    cache = tree.parent  # where the headers' links lead to
    options = [f"--volume={cache}:{cache}:ro", f"--volume={into}:/programs:rw"]
    # To compile, BCC makes the maps. Debian 12's filter of system calls allows bpf(2) by no less.
    privilege = ("--user=0:0", "--cap-add=CAP_SYS_ADMIN")
    options += [f"--env=BCC_KERNEL_SOURCE={headers}", *privilege]
    paths = ("--path.procfs", str(tree / "proc"), "--path.sysfs", str(tree / "sys"))
    compiled = ("hvoscope", "compile", "/programs", "--probe.mode", "full", *paths)
    with storage() as env:
        buildah(env, "pull", "--quiet", images[1].archive)
        with container(images[1].name, env) as name:
            buildah(env, "run", *options, name, "--", *compiled)
    return into


@pytest.fixture(scope="module")
def notes(
    kernel: Kernel,
    images: tuple[Image, Image],
    programs: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Notes:
    """The image, started every way in one guest."""
    out = tmp_path_factory.mktemp("container")
    job = Job(str(images[0].root), str(programs), ways())
    (out / "job.json").write_text(json.dumps(asdict(job)))
    command = (sys.executable, "-m", "tests.kernel.container", str(out), *OPERATIONS)
    run = run_in_guest(kernel, command, out=out, memory_mib=MEMORY_MIB, timeout_s=GUEST_TIMEOUT_S)
    assert run.exit_code == 0, run.stderr
    found: Notes = json.loads((out / "container.json").read_text())
    return found


def test_the_image_with_bcc_compiles_the_programs(kernel: Kernel, programs: Path) -> None:
    made = {path.name for path in programs.iterdir()}
    assert len(made) == 2 * 3  # fentry and kprobe; no stream, a stream, a stream with stacks
    assert len(made & known_names(kernel)) >= 2 * 2


@pytest.mark.parametrize("way", COUNTING)
def test_the_image_counts_exactly(kernel: Kernel, notes: Notes, way: str) -> None:
    expected = EXPECTED[kernel.name]
    assert tuple(notes["ways"][way]["ready"]) == (200, "ready\n"), notes["ways"][way]["log"]
    assert "compiled elsewhere, from /usr/lib/hvoscope/programs" in notes["ways"][way]["log"]
    scrape = samples(notes["ways"][way]["scrape"])
    for size, ptes in (("2MB", expected.ptes_2mb), ("1GB", expected.ptes_1gb)):
        assert total(scrape, "hvo_hugepages_optimized_total", size=size) == PAGES[size]
        assert total(scrape, "hvo_ptes_remapped_total", size=size) == PAGES[size] * ptes
        assert total(scrape, "hvo_frames_freed_total", size=size) == PAGES[size] * ptes
        assert total(scrape, "hvo_optimized_hugepages", size=size) == PAGES[size]  # by the census


def test_the_kernel_accounts_the_same(kernel: Kernel, notes: Notes) -> None:
    expected = EXPECTED[kernel.name]
    before, after = (accounts["memtotal_kib"] for accounts in notes["kernel"])
    frames = PAGES["2MB"] * expected.ptes_2mb + PAGES["1GB"] * expected.ptes_1gb
    assert after - before == 4 * frames


def test_capabilities_do_not_reach_another_user_unless_they_are_ambient(notes: Notes) -> None:
    status, answer = notes["ways"]["user"]["ready"]
    assert status == 503
    assert "no privilege to attach probes" in answer


@pytest.mark.parametrize("way", [*COUNTING, "user"])
def test_what_listens_has_no_privilege_and_can_get_none(notes: Notes, way: str) -> None:
    for thread in notes["ways"][way]["threads"]:
        sets = ("CapInh", "CapPrm", "CapEff", "CapAmb")
        assert {int(thread[name], 16) for name in sets} == {0}
        assert thread["NoNewPrivs"] == "1"
        assert set(thread["Uid"].split()) == {"0" if way == "daemonset" else str(NOBODY)}
        assert thread["Seccomp"] == ("2" if way == "daemonset" else "0")  # 2: a filter


@pytest.mark.parametrize("way", [*COUNTING, "user"])
def test_sigterm_ends_it_and_no_probe_is_left(notes: Notes, way: str) -> None:
    assert notes["ways"][way]["exit_code"] == 0
    assert "Traceback" not in notes["ways"][way]["log"]
    assert notes["hooks"] != ""
    assert notes["hooks_left"] == ""

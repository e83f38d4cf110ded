# SPDX-License-Identifier: Apache-2.0
"""Scenario files: those that are shipped, and what is said about those that are wrong."""

import re
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probes.geometry import GIB, KIB, MIB
from probes.observation import known
from sim_backend.backend import SimBackend
from sim_backend.scenario.actions import ACTION_VERBS, Step
from sim_backend.scenario.file import Scenario, load, read_scenario, shipped
from sim_backend.scenario.toml_table import TomlError
from tests.sim_backend.harness import OPTIMIZING

PAGE = Path(__file__).parents[3] / "docs/scenarios.md"

SMALL = """\
description = "small"
duration = "1m"

[machine]
kernel = "5.14"
memory-per-node = "1GB"
sizes = ["2MB"]

[[step]]
at = "5s"
do = "grow 2MB 23"
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return path


def one_round(scenario: Scenario, seed: int | None = None) -> list[Step]:
    """The steps of the first round, without their ends for a scenario that loops."""
    steps: list[Step] = []
    now = 0.0
    for step in scenario.steps(seed):
        now += step.seconds
        if now > scenario.duration:
            break
        steps.append(step)
    return steps


def test_what_is_shipped() -> None:
    assert set(shipped()) == {
        "boot-pool",
        "database",
        "fragmentation",
        "leak",
        "memory-pressure",
        "probe-loss",
        "slow-machine",
        "switched-on-late",
        "vm-host-day",
    }


@pytest.mark.parametrize("name", shipped())
def test_shipped_scenarios_run_to_their_end_and_lose_no_frame(name: str) -> None:
    scenario = load(name)
    assert scenario.name == name
    assert len(scenario.description) > 50
    kernel = scenario.boot_up()
    backend = SimBackend(kernel)
    backend.start()
    for step in one_round(scenario):
        backend.perform_step(step)
    kernel.check_conservation()
    assert backend.observe().status.ready
    backend.stop()


@pytest.mark.parametrize("name", ["memory-pressure", "switched-on-late", "leak"])
@pytest.mark.parametrize("kernel", OPTIMIZING)
def test_shipped_scenarios_run_on_other_generations(name: str, kernel: str) -> None:
    scenario = load(name)
    backend = SimBackend(scenario.boot_up(kernel, seed=3))
    backend.start()
    for step in one_round(scenario, seed=3):
        backend.perform_step(step)
    assert backend.info.kernel == kernel
    backend.stop()


def test_a_seed_is_a_story() -> None:
    scenario = load("leak")
    assert one_round(scenario) == one_round(scenario, scenario.seed)
    assert one_round(scenario) != one_round(scenario, scenario.seed + 1)


def test_one_that_loops_begins_again_after_its_duration() -> None:
    scenario = load("vm-host-day")
    times, now = [], 0.0
    for step in islice(scenario.steps(), 1000):
        now += step.seconds
        times.append((now, str(step.action)))
    mornings = [at for at, action in times if action == "resize 1GB 40"]
    assert mornings[:3] == pytest.approx([21_600, 108_000, 194_400])


def test_the_machine_of_a_file(tmp_path: Path) -> None:
    text = """
        description = "arm"
        duration = "1s"
        seed = 7
        [machine]
        kernel = "6.0"
        arch = "arm64"
        page-size = "64K"
        nodes = 2
        cpus-per-node = 3
        memory-per-node = "4GB"
        hvo = false
        boot = ["grow 512MB 3", "grow 2MB 5"]
    """
    scenario = read_scenario(write(tmp_path, text))
    kernel = scenario.boot_up()
    assert kernel.generation.name == "6.0"
    assert kernel.geometry.page_size == 64 * KIB
    assert kernel.huge_page_sizes == (2 * MIB, 512 * MIB, 16 * GIB)
    assert kernel.nodes == 2
    assert kernel.machine.cpus_per_node == 3
    assert kernel.switch() is False
    totals = [p.pages for p in kernel.pools().by_node if p.state == "total"]
    assert totals == [3, 2, 2, 1, 0, 0]
    assert scenario.boot_up("7.1").generation.name == "7.1"
    assert list(scenario.steps()) == []


def test_pages_of_boot_are_seen_by_no_probe() -> None:
    backend = SimBackend(load("boot-pool").boot_up())
    backend.start()
    assert backend.observe().counters.total("optimize_calls") == 0
    seen = backend.observe()
    pools, memmap = known(seen.pools), known(seen.memmap)
    assert pools and memmap
    assert sum(p.pages for p in pools.by_node if p.state == "total") == 2056
    # 64 bytes for each of 8 M frames, less 7 frames of each 2 MB page and 4095 of each 1 GB page.
    assert sum(memmap.pages.values()) == 131_072 - 2048 * 7 - 8 * 4095
    backend.stop()


def test_the_step_that_fails_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, SMALL + '[[step]]\nat = "6s"\ndo = ["pressure 4KB", "grow 2MB 1"]\n')
    scenario = read_scenario(path)
    backend = SimBackend(scenario.boot_up())
    backend.start()
    with pytest.raises(ValueError, match=f"^{path}:14: grow 2MB 1: there is memory for"):
        for step in scenario.steps():
            backend.perform_step(step)
    backend.stop()


def test_a_step_that_may_fail(tmp_path: Path) -> None:
    step = '[[step]]\nat = "6s"\ndo = ["pressure 4KB", "shrink 2MB 23"]\nmay-fail = true\n'
    scenario = read_scenario(write(tmp_path, SMALL + step))
    backend = SimBackend(scenario.boot_up())
    backend.start()
    for each in scenario.steps():
        backend.perform_step(each)
    assert backend.observe().counters.total("restore_failures", "ENOMEM") == 23
    backend.stop()


def test_a_boot_that_fails(tmp_path: Path) -> None:
    text = SMALL.replace('sizes = ["2MB"]', 'boot = "grow 1GB 1"')
    scenario = read_scenario(write(tmp_path, text.replace("grow 2MB 23", "hvo on")))
    with pytest.raises(ValueError, match=r"mine\.toml:7: grow 1GB 1: there is memory for no"):
        scenario.boot_up()


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        # What TOML is not.
        ('"small"', '"small', 1, "Illegal character"),
        ("[machine]", "[machine", 4, "Expected"),
        ('do = "grow 2MB 23"', 'do = "grow 2MB 23"\ndo = "again"', 12, "Cannot overwrite"),
        # Keys.
        ('kernel = "5.14"', 'kernl = "5.14"', 5, "unknown key 'kernl' (do you mean kernel?)"),
        ("sizes", "colour", 7, "unknown key 'colour' (known: arch, page-size, kernel, "),
        ("[machine]", "[host]", 4, "unknown key 'host' (known: duration, description, "),
        ('at = "5s"', 'att = "5s"', 9, "at is missing here"),
        ('do = "grow 2MB 23"', "may-fail = true", 9, "do is missing"),
        ('duration = "1m"', "", 1, "duration is missing"),
        # Kinds of values.
        ('at = "5s"', "at = 5", 10, "at must be a string, not 5"),
        ('duration = "1m"', 'duration = "1m"\nseed = "one"', 3, "seed must be a whole number"),
        ('duration = "1m"', 'duration = "1m"\nseed = true', 3, "seed must be a whole number"),
        ('do = "grow 2MB 23"', "do = [23]", 11, "do must be a string or a list of strings"),
        ('at = "5s"', 'at = "5s"\nmay-fail = 1', 11, "may-fail must be true or false"),
        ("[[step]]", "[step]", 9, "step must be a list"),
        # Numbers.
        ("grow 2MB 23", "grow 2MB -23", 11, "invalid count '-23' (expected a number above 0)"),
        ("grow 2MB 23", "grow 2MB 23..5", 11, "23..5 ends before it begins"),
        ('kernel = "5.14"', "nodes = 65", 5, "nodes must be 64 or less, not 65"),
        ('kernel = "5.14"', "nodes = -1", 5, "nodes must be 1 or more, not -1"),
        ('duration = "1m"', 'duration = "1m"\nseed = -1', 3, "seed must be 0 or more"),
        ('at = "5s"', 'at = "-5s"', 10, "'-5s' is no time"),
        ('at = "5s"', 'at = "2m"', 10, "begins after the scenario has ended"),
        ('at = "5s"', 'at = "5s"\nevery = "0s"', 11, "an interval is longer than 0"),
        ('at = "5s"', 'at = "5s"\nuntil = "9s"', 11, "so it needs every"),
        ('at = "5s"', 'at = "5s"\nevery = "1s"\nuntil = "2s"', 12, "until must lie between"),
        ('do = "grow 2MB 23"', 'do = "hvo on"\nevery = "0.0001s"', 11, "more than 100000 steps"),
        # Machines that can't be.
        ('kernel = "5.14"', 'kernel = "4.4"', 5, "kernel 4.4 has no HVO (expected 5.14 or newer)"),
        ('kernel = "5.14"', 'arch = "vax"', 5, "no architecture 'vax' (there are x86-64, arm64)"),
        ('kernel = "5.14"', 'page-size = "64K"', 5, "x86-64 has no 64KB pages (it has 4KB)"),
        ('sizes = ["2MB"]', 'sizes = ["64KB"]', 7, "has no huge pages of 64KB (it has 2MB, 1GB)"),
        ('["2MB"]', '["2MB", "2MB"]', 7, "a size is there twice"),
        ('"1GB"', '"100MB"', 6, "memory comes in blocks of 128MB, not as 100MB"),
        ('"1GB"', '"4097GB"', 6, "simulated machines end at 4096GB, all nodes together"),
        ('"1GB"', '"-1GB"', 6, "invalid size '-1GB'"),
        # Asking too much of it.
        ("grow 2MB 23", "grow 1GB 1", 11, "this machine has huge pages of 2MB"),
        ("grow 2MB 23", "grow 2MB 1009", 11, "that makes 1.971GB of huge pages, and the machine "),
        ("grow 2MB 23", "take 2MB 1009", 11, "and the machine has 1GB of memory"),
        ("grow 2MB 23", "shrink 2MB 23", 11, "there are only 0 pages by then"),
        ("grow 2MB 23", "give 2MB 1", 11, "there are only 0 pages by then"),
        ("grow 2MB 23", "demote 2MB 1", 11, "there is no smaller size to demote to"),
        ('sizes = ["2MB"]', 'boot = ["grow 2MB 5",\n"grow 2MB 1009"]', 8, "that makes 1.98GB"),
        ('at = "5s"', 'at = "5s"\nevery = "1s"', 12, "that makes 1.033GB of huge pages"),
        ('duration = "1m"', 'duration = "1m"\nloop = true', 3, "the pools must be as in the begin"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(
    tmp_path: Path, old: str, new: str, line: int, said: str
) -> None:
    assert old in SMALL
    path = write(tmp_path, SMALL.replace(old, new, 1))
    with pytest.raises(TomlError) as error:
        read_scenario(path)
    message = str(error.value)
    assert message.startswith(f"{path}:{line}: "), message
    assert said in message
    assert "\n" not in message


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_whatever_is_in_a_file_it_is_read_or_refused_in_one_line(data: st.DataObject) -> None:
    words = [
        "[",
        "]",
        '"',
        "=",
        "\n",
        "0",
        "-1",
        "23..5",
        "machine",
        "step",
        "do",
        "true",
        "1d",
        "'",
    ]
    text = SMALL
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(start, min(len(text), start + 12)))
        text = text[:start] + data.draw(st.sampled_from([*words, ""])) + text[end:]
    with TemporaryDirectory() as folder:
        path = write(Path(folder), text)
        try:
            read_scenario(path)
        except TomlError as error:
            assert re.match(rf"{re.escape(str(path))}:[1-9][0-9]*: .+$", str(error))


def test_lists_in_lists(tmp_path: Path) -> None:
    with pytest.raises(TomlError, match=r"mine\.toml:1: lists in lists too deep"):
        read_scenario(write(tmp_path, "x = " + "[" * 5000))


def test_files_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "binary.toml"
    path.write_bytes(b'description = "x"\n\xff\xfe\n')
    with pytest.raises(TomlError, match=r"binary\.toml:2: this is no UTF-8 text"):
        read_scenario(path)
    with pytest.raises(TomlError, match="can't be read: Is a directory"):
        read_scenario(tmp_path)
    with pytest.raises(TomlError, match="can't be read: No such file"):
        load(str(tmp_path / "absent.toml"))


def test_a_name_that_there_is_not() -> None:
    with pytest.raises(TomlError, match=r"no scenario is called 'boot-pol' \(there are boot-pool,"):
        load("boot-pol")


def test_the_example_of_the_page(tmp_path: Path) -> None:
    page = PAGE.read_text()
    example = page.partition("```toml\n")[2].partition("```")[0]
    scenario = read_scenario(write(tmp_path, example))
    backend = SimBackend(scenario.boot_up())
    backend.start()
    for step in scenario.steps():
        backend.perform_step(step)
    assert backend.observe().status.missed["remap_pte"] > 23
    assert backend.observe().counters.total("restore_failures", "ENOMEM")
    backend.stop()


def test_every_action_is_on_the_page() -> None:
    page = PAGE.read_text()
    for verb in ACTION_VERBS:
        assert f"`{verb}" in page

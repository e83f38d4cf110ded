# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from prometheus_client.parser import text_string_to_metric_families

from exporter.cli.main import cli
from tests.probes.preflight_host import machine

POOL = "sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"


def run(tmp_path: Path, *words: str) -> Result:
    host = machine(tmp_path / "host", {POOL: "509\n"})
    paths = ("--path.procfs", str(host.proc), "--path.sysfs", str(host.sys))
    return CliRunner().invoke(cli, ["metrics", *paths, *words])


def samples(text: str) -> dict[str, float]:
    """Values of samples without labels, or by the label that a test asks for."""
    return {
        sample.labels.get("check", sample.name): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_one_exposition_of_what_needs_no_probes(tmp_path: Path) -> None:
    result = run(tmp_path)
    assert result.exit_code == 0
    found = samples(result.output)
    assert (found["hvo_pool_hugepages"], found["hvo_enabled"]) == (509, 1)
    assert (found["hvo_supported"], found["hvo"], found["struct_page"]) == (1, 1, 1)
    assert not [name for name in found if name.endswith("_total")]
    assert "hvo_optimized_hugepages" not in found  # another machine's memory can't be read


def test_a_file_is_replaced_at_once_and_readable_for_all(tmp_path: Path) -> None:
    target, elsewhere = tmp_path / "hvo.prom", tmp_path / "elsewhere"
    elsewhere.write_text("untouched")
    target.symlink_to(elsewhere)
    result = run(tmp_path, "--output", str(target))
    assert (result.exit_code, result.output) == (0, "")
    assert samples(target.read_text())["hvo_pool_hugepages"] == 509
    assert target.stat().st_mode & 0o777 == 0o644
    assert elsewhere.read_text() == "untouched"
    assert {path.name for path in tmp_path.iterdir()} == {"host", "hvo.prom", "elsewhere"}


@pytest.mark.parametrize("name", ["nowhere/hvo.prom", "host"])
def test_a_file_that_cannot_be_written_is_one_line(tmp_path: Path, name: str) -> None:
    result = run(tmp_path, "--output", str(tmp_path / name))
    assert result.exit_code != 0
    assert str(tmp_path / name) in result.output
    assert not list(tmp_path.glob(".*"))

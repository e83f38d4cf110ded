# SPDX-License-Identifier: Apache-2.0
"""Query parameters ``collect[]``, ``exclude[]`` and ``name[]``."""

import http.client
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from exporter.metrics.catalogue import COLLECTORS
from exporter.testing import RunningExporter, running_exporter, watched_kernel
from exporter.web.query import QueryError, Wanted, read_query, selected
from tests.exporter.web.site import Numbers, Served


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("", Wanted((), (), ())),
        ("collect[]=pools&collect[]=switch", Wanted(("pools", "switch"), (), ())),
        ("collect%5B%5D=p%6fols&x=1&exclude", Wanted(("pools",), (), ())),
        ("name[]=a+b&exclude[]=", Wanted((), ("",), ("a b",))),
        ("name=a&collect=b&name[]", Wanted((), (), ("",))),
        ("%ff=%zz&&&=&name[]=%ff", Wanted((), (), ("�",))),
    ],
)
def test_queries_are_parsed(query: str, wanted: Wanted) -> None:
    assert read_query(query) == wanted


def test_too_many_parameters_are_rejected() -> None:
    with pytest.raises(QueryError, match="too many query parameters"):
        read_query("name[]=x&" * 1001)


def test_a_registry_without_parts() -> None:
    registry = Numbers().registry
    assert selected(registry, None, read_query("name=x")) is registry
    with pytest.raises(QueryError, match=r"unknown collector 'x' \(expected none\)"):
        selected(registry, None, read_query("collect[]=x"))


@pytest.fixture(scope="module")
def exporter() -> Iterator[RunningExporter]:
    with watched_kernel() as kernel, running_exporter(kernel) as exporter:
        kernel.operate("grow 2MB 23")
        yield exporter


class Scraped:
    """One scrape of the simulated exporter: status, body and samples by name."""

    def __init__(self, exporter: RunningExporter, query: str, accept: str = "") -> None:
        connection = http.client.HTTPConnection(exporter.url.removeprefix("http://"), timeout=30)
        connection.request("GET", f"/metrics?{query}", headers={"Accept": accept})
        answer = connection.getresponse()
        self.status, self.body = answer.status, answer.read().decode()
        connection.close()

    @property
    def collectors(self) -> set[str]:
        """Those that say how they fared."""
        return {
            sample.labels["collector"]
            for family in text_string_to_metric_families(self.body)
            for sample in family.samples
            if sample.name == "hvo_scrape_collector_success"
        }

    @property
    def names(self) -> set[str]:
        return {
            sample.name
            for family in text_string_to_metric_families(self.body)
            for sample in family.samples
        }


def test_only_selected_collectors_run(exporter: RunningExporter) -> None:
    scraped = Scraped(exporter, "collect[]=pools&collect[]=switch")
    assert scraped.status == 200
    assert scraped.collectors == {"pools", "switch"}
    assert {"hvo_pool_hugepages", "hvo_enabled", "process_open_fds"} <= scraped.names
    assert "hvo_optimize_calls_total" not in scraped.names


def test_all_collectors_but_the_excluded_run(exporter: RunningExporter) -> None:
    scraped = Scraped(exporter, "exclude[]=probes&exclude[]=probes")
    assert scraped.collectors == set(COLLECTORS) - {"probes"}


def test_other_parameters_are_ignored(exporter: RunningExporter) -> None:
    assert Scraped(exporter, "foo=bar&collect=none").collectors == set(COLLECTORS)


@pytest.mark.parametrize(
    ("query", "reported"),
    [
        (
            "collect[]=cpu",
            "unknown collector 'cpu' (expected probes, pools, switch, census, memmap, drift, bugs)",
        ),
        ("exclude[]=", "unknown collector ''"),
        ("collect[]=%0aevil%ff", "unknown collector '\\nevil\\ufffd'"),
        ("collect[]=pools&exclude[]=switch", "collect[] and exclude[] can't be combined"),
        ("a&" * 2000, "too many query parameters"),
    ],
)
def test_an_invalid_query_is_a_400_of_one_line(
    exporter: RunningExporter, query: str, reported: str
) -> None:
    scraped = Scraped(exporter, query)
    assert scraped.status == 400
    assert scraped.body.startswith(reported)
    assert scraped.body.count("\n") == 1


def test_names_of_samples_and_of_families(exporter: RunningExporter) -> None:
    names = ("hvo_frames_freed_total", "hvo_enabled", "hvo_optimize_duration_seconds", "nothing")
    scraped = Scraped(exporter, "&".join(f"name[]={name}" for name in names))
    assert scraped.names == {
        *("hvo_frames_freed_total", "hvo_enabled"),
        *(f"hvo_optimize_duration_seconds_{part}" for part in ("bucket", "count", "sum")),
    }
    assert 'hvo_frames_freed_total{numa_node="0",size="2MB"} 184.0' in scraped.body


def test_names_and_collectors_together(exporter: RunningExporter) -> None:
    query = "name[]=hvo_enabled&name[]=hvo_frames_freed_total&collect[]=switch"
    assert Scraped(exporter, query).names == {"hvo_enabled"}


def test_an_unknown_name_selects_nothing(exporter: RunningExporter) -> None:
    scraped = Scraped(exporter, "name[]=nothing", "application/openmetrics-text")
    assert (scraped.status, scraped.body) == (200, "# EOF\n")


def test_names_of_any_registry() -> None:
    with Served(Numbers().site()) as served:
        assert b"answer 42.0" in served.ask("/numbers?name[]=answer")[1]
        assert served.ask("/numbers?name[]=question")[:2] == (200, b"")

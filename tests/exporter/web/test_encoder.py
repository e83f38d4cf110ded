# SPDX-License-Identifier: Apache-2.0
"""A family is encoded again only when it has changed, and always when it has."""

import math
from collections.abc import Iterable, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from exporter.web.encoder import Encoder
from exporter.web.formats import OPENMETRICS, TEXT, Format

FORMATS = pytest.mark.parametrize("chosen", [TEXT, OPENMETRICS], ids=["text", "OpenMetrics"])
VALUES = st.sampled_from([0.0, 1.0, 23.0, 0.1, 2.0**60, math.inf, math.nan])
SAMPLES = st.dictionaries(st.sampled_from(["", "2MB", '1"GB\n', "ä"]), VALUES, max_size=3)


class Families(Collector):
    """A registry of new families for each scrape, as the daemon's is."""

    def __init__(self, *families: Metric) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def gauge(name: str, samples: Mapping[str, float], about: str = "Pages.") -> Metric:
    made = GaugeMetricFamily(name, about, labels=["size"])
    for size, value in samples.items():
        made.add_metric([size], value)
    return made


def counter(name: str, samples: Mapping[str, float]) -> Metric:
    made = CounterMetricFamily(name, "Pages.", labels=["size"])
    for size, value in samples.items():
        made.add_metric([size], value, created=value)
    return made


def histogram(name: str, samples: Mapping[str, float]) -> Metric:
    made = HistogramMetricFamily(name, "Seconds.", labels=["size"])
    for size, value in samples.items():
        made.add_metric([size], [("0.1", 23.0), ("+Inf", value)], value)
    return made


FAMILIES = st.builds(
    lambda make, name, samples: make(name, samples),
    st.sampled_from([gauge, counter, histogram]),
    st.sampled_from(["hvo_a", "hvo_b", "hvo_c"]),
    SAMPLES,
)


@FORMATS
@given(scrapes=st.lists(st.lists(FAMILIES, max_size=4), min_size=2, max_size=5))
def test_every_scrape_is_as_without_memory(chosen: Format, scrapes: list[list[Metric]]) -> None:
    encoder = Encoder()
    for families in scrapes:
        registry = Families(*families)
        assert encoder.encode(registry, chosen) == chosen.encode(registry)


@FORMATS
@pytest.mark.parametrize(
    "changed",
    [
        gauge("hvo_a", {"2MB": 509.0}),
        gauge("hvo_a", {"1GB": 23.0}),
        gauge("hvo_a", {"2MB": 23.0, "1GB": 23.0}),
        gauge("hvo_a", {}),
        gauge("hvo_a", {"2MB": 23.0}, about="Others."),
        counter("hvo_a", {"2MB": 23.0}),
    ],
    ids=["value", "label", "more samples", "no sample", "help", "type"],
)
def test_a_changed_family_is_encoded_again(chosen: Format, changed: Metric) -> None:
    encoder = Encoder()
    for family in (gauge("hvo_a", {"2MB": 23.0}), changed, gauge("hvo_a", {"2MB": 23.0})):
        assert encoder.encode(Families(family), chosen) == chosen.encode(Families(family))


@FORMATS
def test_what_did_not_change_is_encoded_once(chosen: Format) -> None:
    encoded: list[str] = []

    def noting(registry: Collector) -> bytes:
        encoded.extend(family.name for family in registry.collect())
        return chosen.encode(registry)

    encoder = Encoder()
    for pages in (23.0, 23.0, 509.0):
        families = Families(gauge("hvo_a", {"2MB": 23.0}), gauge("hvo_b", {"2MB": pages}))
        encoder.encode(families, chosen._replace(encode=noting))
    assert encoded == ["hvo_a", "hvo_b", "hvo_b"]


def test_formats_do_not_mix() -> None:
    encoder, families = Encoder(), Families(counter("hvo_a", {"2MB": 23.0}))
    for chosen in (TEXT, OPENMETRICS, TEXT):
        assert encoder.encode(families, chosen) == chosen.encode(families)

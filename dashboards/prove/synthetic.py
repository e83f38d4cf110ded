# SPDX-License-Identifier: Apache-2.0
"""Hosts by the thousand, as series in the blocks of a Prometheus.

Each host has the series of a scrape of a simulated exporter, and what the recording rules make of
them. Fleet asks for series of hosts at one moment only, so that these have two and 20 samples;
those of jobs have six hours. Only names, labels and numbers of samples matter for the time of a
query; the values are small numbers that change.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from dashboards.prove.prometheus import load
from dashboards.prove.watch import Labels, Sample, watch
from dashboards.rules import rules
from sim_backend.scenario.file import load as load_scenario

END = 1_780_272_000.0
"""1 June 2026, 00:00 UTC; the end of the 6 hours."""
STEP = 30.0
"""Seconds between two samples, and two points of a graph."""
SIX_HOURS = 6 * 3600.0
CLUSTERS = ("fra", "ams")
KERNELS = ("6.1.0-48-amd64", "6.12.107+deb13-amd64", "7.2.13+deb14-amd64")
_ALERTING = 23
"""Every 23rd host has an alert."""


RAW, RECORDED = STEP, 19 * STEP
"""Seconds for which series of scrapes, and recorded series of hosts, reach back before ``END``."""
_MOST_RAW = 1000
"""More hosts have only those series of a scrape that Fleet asks for."""
_ASKED = ("hvo_enabled", "hvo_backend_info")


def store(hosts: int, storage: Path) -> int:
    """Import hosts into ``storage``; return the number of series. Raises ``PrometheusError``."""
    storage.mkdir(parents=True, exist_ok=True)
    text, series = storage / "fleet.om", 0
    with text.open("w") as out:
        for name, kind, every, back in _families(hosts):
            out.write(f"# TYPE {name} {kind}\n")
            for number, head in enumerate(every):
                series += 1
                _write(out, head, back, number)
        out.write("# EOF\n")
    load(text, storage)
    text.unlink()
    return series


def _write(out: TextIO, head: str, back: float, number: int) -> None:
    first = round(back / STEP)
    out.writelines(
        f"{head} {number % 7 + step} {END - (first - step) * STEP:.0f}\n"
        for step in range(first + 1)
    )


def _families(hosts: int) -> Iterator[tuple[str, str, Iterator[str], float]]:
    for family, samples in _scrape().items():
        if hosts <= _MOST_RAW or family in _ASKED:
            heads = (
                _head(sample.name, sample.labels, host)
                for host in range(hosts)
                for sample in samples
            )
            yield family, samples[0].kind, heads, RAW
    for rule in rules():
        if rule.kind == "record":
            back = RECORDED if rule.name.startswith("instance") else SIX_HOURS
            yield rule.name, "gauge", _recorded(rule.name, hosts), back


def _recorded(name: str, hosts: int) -> Iterator[str]:
    level = name.partition(":")[0]
    if level.startswith("instance"):
        sizes = ("2MB", "1GB") if "_size" in level else ("",)
        for host in range(hosts):
            if not name.endswith((":lost", ":late", ":low", ":stuck")) or not host % _ALERTING:
                for size in sizes:
                    labels = (("size", size),) if size else ()
                    yield _head(name, labels, host)
        return
    values = {"kernel": KERNELS, "symbol": KERNELS, "alertname": _ALERTS}
    label = level.partition("_")[2]
    for cluster in CLUSTERS:
        own = (("cluster", cluster), ("job", "hvoscope"))
        for value in values.get(label, ("",)):
            yield _text(name, (*own, (label, value)) if label else own)


_ALERTS = tuple(sorted({rule.name for rule in rules() if rule.kind == "alert"}))


def _scrape() -> dict[str, list[Sample]]:
    machine = Path(__file__).parent / "machines/vm-host-1.toml"
    scenario = load_scenario(str(machine))
    (scrape,) = watch(scenario, every=scenario.duration + 1).scrapes
    families: dict[str, list[Sample]] = {}
    for sample in scrape:
        families.setdefault(sample.family, []).append(sample)
    return families


def _head(name: str, labels: Labels, host: int) -> str:
    of_target = (
        ("cluster", CLUSTERS[host % 2]),
        ("instance", f"host-{host:05}:10917"),
        ("job", "hvoscope"),
    )
    changed = (
        (label, KERNELS[host % 3]) if label == "kernel" else (label, value)
        for label, value in labels
    )
    return _text(name, (*changed, *of_target))


def _text(name: str, labels: Labels) -> str:
    return name + "{" + ",".join(f'{label}="{value}"' for label, value in labels) + "}"

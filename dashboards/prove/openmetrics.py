# SPDX-License-Identifier: Apache-2.0
"""Scrapes of many machines as one OpenMetrics text with times, for promtool to make blocks of."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import TextIO

from dashboards.prove.watch import Labels, Watched

JOB = "hvoscope"


def write(machines: Iterable[Watched], start: float, out: TextIO) -> None:
    """Write every scrape, and ``up``, at ``start`` (seconds since 1970) plus its own time.

    A machine that ends before the others is down from then on: ``up`` is 0, and nothing else.
    """
    machines = list(machines)
    families = _by_family(machines, start)
    for family, (kind, lines) in families.items():
        out.write(f"# TYPE {family} {kind}\n")
        out.writelines(lines)
    out.write("# TYPE up gauge\n")
    out.writelines(_up(machines, start))
    out.write("# EOF\n")


def _by_family(machines: list[Watched], start: float) -> dict[str, tuple[str, list[str]]]:
    # promtool wants all of a family together, and a series' samples in the order of time.
    families: dict[str, tuple[str, list[str]]] = {}
    for machine in machines:
        series: dict[str, dict[tuple[str, Labels], list[str]]] = defaultdict(
            lambda: defaultdict(list)
        )
        for truth, scrape in zip(machine.truths, machine.scrapes, strict=True):
            for sample in scrape:
                families.setdefault(sample.family, (sample.kind, []))
                series[sample.family][sample.name, sample.labels].append(
                    f" {sample.value!r} {start + truth.seconds:.3f}\n"
                )
        for family, found in series.items():
            for (name, labels), values in found.items():
                head = _head(name, labels, machine.instance)
                families[family][1].extend(head + value for value in values)
    return families


def _up(machines: list[Watched], start: float) -> Iterator[str]:
    times = max((machine.truths for machine in machines), key=len)
    for machine in machines:
        seen = {truth.seconds for truth in machine.truths}
        for truth in times:
            up = int(truth.seconds in seen)
            yield f"{_head('up', (), machine.instance)} {up} {start + truth.seconds:.3f}\n"


def _head(name: str, labels: Labels, instance: str) -> str:
    every = (*labels, ("instance", instance), ("job", JOB))
    return name + "{" + ",".join(f'{label}="{value}"' for label, value in every) + "}"

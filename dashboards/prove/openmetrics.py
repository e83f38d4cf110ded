# SPDX-License-Identifier: Apache-2.0
"""Write scrapes of many machines as one OpenMetrics text with timestamps, for promtool."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import TextIO

from dashboards.prove.watch import History, Labels

JOB = "hvoscope-demo"
"""A name that says that the targets are simulated: see the alert HvoSimulated."""
FOREIGN = "node"
"""Another job, whose targets have the names of ours."""
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


def write(histories: Sequence[History], start: float, out: TextIO) -> None:
    """Write every scrape, and ``up``, at ``start`` (seconds since 1970) plus its own time.

    A machine that ends before the others is down afterwards: it only has ``up``, at 0.
    """
    for family, (kind, lines) in _by_family(histories, start).items():
        out.write(f"# TYPE {family} {kind}\n")
        out.writelines(lines)
    out.write("# TYPE up gauge\n")
    out.writelines(_up(histories, start))
    out.writelines(_foreign("up", 0, histories, start))
    out.write("# TYPE node_memory_MemTotal_bytes gauge\n")
    out.writelines(_foreign("node_memory_MemTotal_bytes", 1 << 34, histories, start))
    out.write("# EOF\n")


def _by_family(histories: Sequence[History], start: float) -> dict[str, tuple[str, list[str]]]:
    # promtool requires families to be contiguous, and samples of a series in order of time.
    families: dict[str, tuple[str, list[str]]] = {}
    for history in histories:
        series: dict[tuple[str, str, Labels], list[str]] = defaultdict(list)
        for seconds, scrape in history.scrapes:
            for sample in scrape:
                families.setdefault(sample.family, (sample.kind, []))
                series[sample.family, sample.name, sample.labels].append(
                    f" {sample.value!r} {start + seconds:.3f}\n"
                )
        for (family, name, labels), values in series.items():
            head = _head(name, labels, history.instance)
            families[family][1].extend(head + value for value in values)
    return families


def _up(histories: Sequence[History], start: float) -> Iterator[str]:
    times = sorted({seconds for history in histories for seconds, _ in history.scrapes})
    for history in histories:
        seen = {seconds for seconds, _ in history.scrapes}
        for seconds in times:
            head = _head("up", (), history.instance)
            yield f"{head} {int(seconds in seen)} {start + seconds:.3f}\n"


def _foreign(name: str, value: float, histories: Sequence[History], start: float) -> Iterator[str]:
    """Yield a series of node_exporter on the same hosts."""
    times = sorted({seconds for history in histories for seconds, _ in history.scrapes})
    for history in histories:
        head = _head(name, (), history.instance, FOREIGN)
        yield from (f"{head} {value} {start + seconds:.3f}\n" for seconds in times)


def of_target(instance: str) -> Labels:
    """Return the labels that service discovery adds to a target, told from its name."""
    host = instance.partition(":")[0]
    cluster = "ams" if host.startswith(("edge", "lab")) else "fra"
    return (("cluster", cluster), ("node", host), ("team", "vm"))


def _head(name: str, labels: Labels, instance: str, job: str = JOB) -> str:
    every = (*labels, ("instance", instance), ("job", job), *of_target(instance))
    pairs = (f'{label}="{value.translate(_ESCAPES)}"' for label, value in every)
    return name + "{" + ",".join(pairs) + "}"

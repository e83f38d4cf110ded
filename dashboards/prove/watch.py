# SPDX-License-Identifier: Apache-2.0
"""Scrape a simulated machine on simulated time, as Prometheus would in a whole day.

The exporter is the real one, including its registry; only the clock is simulated.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from prometheus_client import CollectorRegistry

from exporter.metrics.registry import make_registry
from probes.observation import Observation
from sim_backend.backend import SimBackend
from sim_backend.kernel.sim_kernel import SimKernel
from sim_backend.scenario.actions import Step
from sim_backend.scenario.file import Scenario

_EXPORTER = ("hvo_scrape_", "process_")
"""Prefixes of the exporter's own metrics."""

Labels = tuple[tuple[str, str], ...]
"""Pairs of name and value, sorted by name."""


class Sample(NamedTuple):
    """One sample of a scrape, with the name and type of its family."""

    family: str
    kind: str
    name: str
    labels: Labels
    value: float


class History(NamedTuple):
    """Scrapes of one target, each with its time in seconds."""

    instance: str
    scrapes: list[tuple[float, list[Sample]]]


class Truth(NamedTuple):
    """State of the simulated machine at the time of a scrape."""

    seconds: float
    seen: Observation
    exporter: dict[tuple[str, Labels], float]
    """The exporter's own metrics, which have no other source."""


@dataclass
class Watched:
    """One machine with its scrapes, and the true state at each scrape in ``truths``."""

    instance: str
    kernel: str
    page_size: int
    scrapes: list[list[Sample]] = field(default_factory=list)
    truths: list[Truth] = field(default_factory=list)

    @property
    def history(self) -> "History":
        """The scrapes with their times."""
        times = (truth.seconds for truth in self.truths)
        return History(self.instance, list(zip(times, self.scrapes, strict=True)))

    def at(self, seconds: float) -> Truth:
        """Return the true state at that time. Raises ``KeyError`` if it was not scraped then."""
        for truth in reversed(self.truths):
            if truth.seconds == seconds:
                return truth
        raise KeyError(f"{self.instance} was not scraped at {seconds:g} s")


class _Player:
    """Performs the steps of a scenario when they are due."""

    def __init__(self, steps: Iterator[Step], kernel: SimKernel, backend: SimBackend) -> None:
        self._steps = steps
        self._kernel = kernel
        self._backend = backend
        self._now = 0.0
        self._next = next(steps, None)

    def play(self, until: float) -> None:
        """Perform all steps due until then, in simulated seconds since the start."""
        while self._next is not None and self._now + self._next.seconds <= until:
            self._now += self._next.seconds
            self._kernel.idle(self._next.seconds)
            self._backend.perform_step(self._next)
            self._next = next(self._steps, None)


def watch(scenario: Scenario, *, every: float, time_scale: float = 1.0) -> Watched:
    """Run ``scenario`` for its duration, and scrape it at an interval of ``every`` seconds.

    Times are the scraper's; ``time_scale`` simulated seconds pass in each of its seconds.
    """
    kernel = scenario.boot_up()
    backend = SimBackend(kernel, loses=True)
    registry = make_registry(backend)
    player = _Player(scenario.steps(), kernel, backend)
    watched = Watched(f"{scenario.name}:10917", kernel.generation.name, kernel.geometry.page_size)
    backend.start()
    try:
        for number in range(int(scenario.duration / time_scale // every) + 1):
            player.play(number * every * time_scale)
            watched.scrapes.append(list(_samples(registry)))
            watched.truths.append(_truth(number * every, backend, watched.scrapes[-1]))
    finally:
        backend.stop()
    return watched


def _samples(registry: CollectorRegistry) -> Iterator[Sample]:
    for family in registry.collect():
        for sample in family.samples:
            labels = tuple(sorted(sample.labels.items()))
            yield Sample(family.name, family.type, sample.name, labels, sample.value)


def _truth(seconds: float, backend: SimBackend, scrape: list[Sample]) -> Truth:
    return Truth(
        seconds=seconds,
        seen=backend.observe(),
        exporter={(s.name, s.labels): s.value for s in scrape if s.name.startswith(_EXPORTER)},
    )

# SPDX-License-Identifier: Apache-2.0
"""A simulated machine scraped on simulated time: what Prometheus would have stored of a whole day.

The exporter is the real one, down to the registry that a scrape asks; only the clock is not.
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

_ITS_OWN = ("hvo_scrape_", "process_")

Labels = tuple[tuple[str, str], ...]
"""Name and value, in the order of the names."""


class Sample(NamedTuple):
    """One value of one scrape, with the name and type of its family."""

    family: str
    kind: str
    name: str
    labels: Labels
    value: float


class History(NamedTuple):
    """Scrapes of one target, and the seconds at which they were made."""

    instance: str
    scrapes: list[tuple[float, list[Sample]]]


class Truth(NamedTuple):
    """What the simulated machine itself knows at the moment of a scrape."""

    seconds: float
    seen: Observation
    exporter: dict[tuple[str, Labels], float]
    """What the exporter says of itself, which only it can know."""


@dataclass
class Watched:
    """One machine, and what was seen of it: ``truths`` and ``scrapes`` go together."""

    instance: str
    kernel: str
    page_size: int
    scrapes: list[list[Sample]] = field(default_factory=list)
    truths: list[Truth] = field(default_factory=list)

    @property
    def history(self) -> "History":
        """Its scrapes, for Prometheus."""
        times = (truth.seconds for truth in self.truths)
        return History(self.instance, list(zip(times, self.scrapes, strict=True)))

    def at(self, seconds: float) -> Truth:
        """What was true then; ``KeyError`` where nobody looked."""
        for truth in reversed(self.truths):
            if truth.seconds == seconds:
                return truth
        raise KeyError(f"{self.instance} was not scraped at {seconds:g} s")


class _Story:
    """A scenario's steps, performed as their time comes."""

    def __init__(self, steps: Iterator[Step], kernel: SimKernel, backend: SimBackend) -> None:
        self._steps = steps
        self._kernel = kernel
        self._backend = backend
        self._now = 0.0
        self._next = next(steps, None)

    def play(self, until: float) -> None:
        """Perform all that is due until then, in simulated seconds since the beginning."""
        while self._next is not None and self._now + self._next.seconds <= until:
            self._now += self._next.seconds
            self._kernel.idle(self._next.seconds)
            self._backend.perform_step(self._next)
            self._next = next(self._steps, None)


def watch(scenario: Scenario, *, every: float, time_scale: float = 1.0) -> Watched:
    """Run ``scenario`` for its duration, and scrape it ``every`` so many seconds.

    Times are those of the scraper, for whom ``time_scale`` simulated seconds pass in one.
    """
    kernel = scenario.boot_up()
    backend = SimBackend(kernel, loses=True)
    registry = make_registry(backend)
    story = _Story(scenario.steps(), kernel, backend)
    seen = Watched(f"{scenario.name}:10917", kernel.generation.name, kernel.geometry.page_size)
    backend.start()
    try:
        for number in range(int(scenario.duration / time_scale // every) + 1):
            story.play(number * every * time_scale)
            seen.scrapes.append(list(_samples(registry)))
            seen.truths.append(_truth(number * every, backend, seen.scrapes[-1]))
    finally:
        backend.stop()
    return seen


def _samples(registry: CollectorRegistry) -> Iterator[Sample]:
    for family in registry.collect():
        for sample in family.samples:
            labels = tuple(sorted(sample.labels.items()))
            yield Sample(family.name, family.type, sample.name, labels, sample.value)


def _truth(seconds: float, backend: SimBackend, scrape: list[Sample]) -> Truth:
    return Truth(
        seconds=seconds,
        seen=backend.observe(),
        exporter={(s.name, s.labels): s.value for s in scrape if s.name.startswith(_ITS_OWN)},
    )

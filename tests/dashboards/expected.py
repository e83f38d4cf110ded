# SPDX-License-Identifier: Apache-2.0
"""The expected result of every query of panels and rules, computed by the oracle."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from dashboards.prove.openmetrics import JOB as OWN
from dashboards.prove.openmetrics import of_target
from tests.dashboards.oracle import Labels, Oracle, Values, difference, labelled, ratio, scalar

Expectation = Callable[[Oracle], Values]
Key = tuple[str, str, str]
"""Dashboard, panel and query; or ``rules``, the rule's name and an empty string."""

SIX_HOURS = 6 * 3600.0


def largest(values: list[float]) -> float:
    return max(values)


def smallest(values: list[float]) -> float:
    return min(values)


def _rate(fact: str, *by: str) -> Expectation:
    return lambda o: o.rate(fact, by)


def _some_rate(fact: str, *by: str) -> Expectation:
    return lambda o: {k: v for k, v in o.rate(fact, by).items() if v}


def _increase(fact: str, *by: str) -> Expectation:
    return lambda o: o.increase(fact, by)


def _now(fact: str, *by: str) -> Expectation:
    return lambda o: o.now(fact, by)


def _in_six_hours(fact: str, *by: str) -> Expectation:
    return lambda o: o.increase(fact, by, SIX_HOURS)


def _largest(fact: str, *by: str) -> Expectation:
    return lambda o: o.now(fact, by, largest)


def _quantile(share: float, which: str, *by: str) -> Expectation:
    return lambda o: o.quantile(share, which, by)


def _ratio(above: str, below: str, *by: str) -> Expectation:
    return lambda o: ratio(o.rate(above, by), o.rate(below, by))


def _detached(o: Oracle) -> Values:
    return scalar(sum(1 - v for v in o.now("attached", ("instance", "step")).values()))


def _off(o: Oracle) -> Values:
    return scalar(sum(1 - v for v in o.now("enabled", ("instance",)).values()))


def _kernels(o: Oracle) -> Values:
    kernels = [kernel for _, kernel in o.machine_labels()]
    return {labelled(kernel=k): kernels.count(k) for k in kernels}


def _symbols(o: Oracle) -> Values:
    return o.now("attached", ("symbol",), len, step="optimize")


def _failed_collectors(o: Oracle) -> Values:
    ran = o.now("hvo_scrape_collector_success", ("collector",), len)
    failed = difference(ran, o.now("hvo_scrape_collector_success", ("collector",)))
    return {k: v for k, v in failed.items() if v}


def _rate5m(fact: str, *by: str) -> Expectation:
    """Rate over 5 minutes, of which Prometheus has scrapes of 4."""
    return lambda o: {k: v / 240 for k, v in o.increase(fact, by, 240).items()}


def _saved(*by: str) -> Expectation:
    """From the census of each machine, or else from its kernel's accounting."""

    def expect(o: Oracle) -> Values:
        sums: Values = {}
        for labels, value in {**o.now("saved", TARGET), **o.now("saved_now", TARGET)}.items():
            kept = frozenset(label for label in labels if label[0] in by)
            sums[kept] = sums.get(kept, 0) + value
        return sums

    return expect


TARGET = ("job", "instance", "cluster", "node", "team")
"""Labels of a target: none is lost where nothing aggregates."""
HOST = ("cluster", "job", "instance")
JOB = ("job", "cluster", "team")
PAGE = (*TARGET, "size", "numa_node")
EVERY_LABEL = (*TARGET, "step", "symbol", "attach")

PANELS: Mapping[Key, Expectation] = {
    ("hvo-host", "Memory saved", "A"): _saved(),
    ("hvo-host", "Saved of possible", "A"): lambda o: ratio(o.now("saved_now"), o.now("possible")),
    ("hvo-host", "HVO switch", "A"): lambda o: o.now("enabled", (), smallest),
    ("hvo-host", "Optimize failures", "A"): _in_six_hours("optimize_failures"),
    ("hvo-host", "Restore failures", "A"): _in_six_hours("restore_failures"),
    ("hvo-host", "Detached probes", "A"): _detached,
    ("hvo-host", "Accounting drift", "A"): _now("drift"),
    ("hvo-host", "Memory saved over time", "A"): _now("saved", "instance"),
    ("hvo-host", "Saved and possible", "A"): _now("saved_now", *PAGE),
    ("hvo-host", "Saved and possible", "B"): _now("possible", *PAGE),
    ("hvo-host", "Huge pages optimized now", "A"): _now("optimized_now", *PAGE),
    ("hvo-host", "Net frames saved since attach", "A"): lambda o: difference(
        o.now("frames_freed", ("size", "numa_node")),
        o.now("frames_allocated", ("size", "numa_node")),
    ),
    ("hvo-host", "Huge pages optimized and restored", "A"): _rate("hugepages_optimized", "size"),
    ("hvo-host", "Huge pages optimized and restored", "B"): _rate("hugepages_restored", "size"),
    ("hvo-host", "Skips and failures", "A"): _some_rate("hugepages_skipped", "reason"),
    ("hvo-host", "Skips and failures", "B"): _some_rate("optimize_failures", "error"),
    ("hvo-host", "Skips and failures", "C"): _some_rate("restore_failures", "error"),
    ("hvo-host", "PTEs remapped and restored", "A"): _rate("ptes_remapped", "size"),
    ("hvo-host", "PTEs remapped and restored", "B"): _rate("ptes_restored", "size"),
    ("hvo-host", "Frames freed and allocated", "A"): _rate("frames_freed", "size"),
    ("hvo-host", "Frames freed and allocated", "B"): _rate("frames_allocated", "size", "cause"),
    ("hvo-host", "Optimize latency", "A"): _increase("optimize_bucket", "le"),
    ("hvo-host", "Optimize latency quantiles", "A"): _quantile(0.5, "optimize", "size"),
    ("hvo-host", "Optimize latency quantiles", "B"): _quantile(0.99, "optimize", "size"),
    ("hvo-host", "Restore latency", "A"): _increase("restore_bucket", "le"),
    ("hvo-host", "Restore latency quantiles", "A"): _quantile(0.5, "restore", "size"),
    ("hvo-host", "Restore latency quantiles", "B"): _quantile(0.99, "restore", "size"),
    ("hvo-host", "Huge page pools", "A"): _now("pool_total", "size"),
    ("hvo-host", "Huge page pools", "B"): _now("pool_free", "size"),
    ("hvo-host", "Huge page pools", "C"): _now("pool_surplus", "size"),
    ("hvo-host", "Huge page pools", "D"): _now("pool_reserved", "size"),
    ("hvo-host", "Surplus huge pages and limit", "A"): _now("pool_surplus", "size"),
    ("hvo-host", "Surplus huge pages and limit", "B"): _now("overcommit", "size"),
    ("hvo-host", "Accounting drift over time", "A"): _now("drift", *TARGET),
    ("hvo-host", "Memmap frames", "A"): _now("memmap", "instance", "kind"),
    ("hvo-host", "Probes", "A"): _now("attached", *EVERY_LABEL),
    ("hvo-host", "Missed hits, lost events, map errors", "A"): _some_rate("missed", "step"),
    ("hvo-host", "Missed hits, lost events, map errors", "B"): _some_rate("lost", "where"),
    ("hvo-fleet", "Memory saved", "A"): _saved(),
    ("hvo-fleet", "Saved of possible", "A"): lambda o: ratio(o.now("saved_now"), o.now("possible")),
    ("hvo-fleet", "Exporters up", "A"): lambda o: scalar(sum(o.up().values())),
    ("hvo-fleet", "Exporters down", "A"): lambda o: scalar(sum(not up for up in o.up().values())),
    ("hvo-fleet", "Hosts with HVO off", "A"): _off,
    ("hvo-fleet", "Hosts", "B"): lambda o: {
        labelled(job=OWN, instance=instance, cluster=dict(of_target(instance))["cluster"]): up
        for instance, up in o.up().items()
    },
    ("hvo-fleet", "Hosts", "C"): _now("enabled", *HOST),
    ("hvo-fleet", "Hosts", "D"): _saved(*HOST),
    ("hvo-fleet", "Hosts", "E"): _now("possible", *HOST),
    ("hvo-fleet", "Hosts", "H"): lambda o: {
        labelled(
            job=OWN,
            instance=instance,
            cluster=dict(of_target(instance))["cluster"],
            kernel=kernel,
        ): 1
        for instance, kernel in o.machine_labels()
    },
    ("hvo-fleet", "Hosts not listed", "A"): lambda _: scalar(0),
    ("hvo-fleet", "Not listed, with alerts", "A"): lambda _: scalar(0),
    ("hvo-fleet", "Memory saved and possible", "A"): _now("saved_now"),
    ("hvo-fleet", "Memory saved and possible", "B"): _now("possible"),
    ("hvo-fleet", "Top 10 by memory saved", "A"): _saved(*TARGET),
    ("hvo-fleet", "Top 10 by memory not saved", "A"): lambda o: {
        k: v
        for k, v in difference(o.now("possible", TARGET), o.now("saved_now", TARGET)).items()
        if v
    },
    ("hvo-fleet", "Hosts by kernel", "A"): _kernels,
    ("hvo-fleet", "Hosts by probed function", "A"): _symbols,
    ("hvo-kernel", "Optimize calls", "A"): _rate("optimize_calls", "size"),
    ("hvo-kernel", "Optimize calls", "B"): _rate("hugepages_optimized", "size"),
    ("hvo-kernel", "Optimize calls", "C"): _rate("hugepages_skipped", "size"),
    ("hvo-kernel", "Optimize calls", "D"): _rate("optimize_failures", "size"),
    ("hvo-kernel", "Restore calls", "A"): _rate("hugepages_restored", "size"),
    ("hvo-kernel", "Restore calls", "B"): _rate("restore_failures", "size"),
    ("hvo-kernel", "PTEs", "A"): _rate("ptes_remapped", "size", "numa_node"),
    ("hvo-kernel", "PTEs", "B"): _rate("ptes_restored", "size", "numa_node"),
    ("hvo-kernel", "Frames", "A"): _rate("frames_freed", "size", "numa_node"),
    ("hvo-kernel", "Frames", "B"): _rate("frames_allocated", "cause", "numa_node"),
    ("hvo-kernel", "PTEs and frames per huge page", "A"): _ratio(
        "ptes_remapped", "hugepages_optimized", "instance", "size"
    ),
    ("hvo-kernel", "PTEs and frames per huge page", "B"): _ratio(
        "frames_freed", "hugepages_optimized", "instance", "size"
    ),
    ("hvo-kernel", "Time per PTE", "A"): _ratio("optimize_sum", "ptes_remapped", "size"),
    ("hvo-kernel", "Time per PTE", "B"): _ratio("restore_sum", "ptes_restored", "size"),
    ("hvo-kernel", "Mean time per huge page", "A"): _ratio(
        "optimize_sum", "optimize_count", "size"
    ),
    ("hvo-kernel", "Mean time per huge page", "B"): _ratio("restore_sum", "restore_count", "size"),
    ("hvo-kernel", "Optimize latency quantiles", "A"): _quantile(0.5, "optimize", "size"),
    ("hvo-kernel", "Optimize latency quantiles", "B"): _quantile(0.9, "optimize", "size"),
    ("hvo-kernel", "Optimize latency quantiles", "C"): _quantile(0.99, "optimize", "size"),
    ("hvo-kernel", "Huge pages per batch", "A"): _ratio(
        "hugepages_optimized", "batch_count", "instance", "size"
    ),
    ("hvo-kernel", "Batch latency quantiles", "A"): _quantile(0.5, "batch", "size"),
    ("hvo-kernel", "Batch latency quantiles", "B"): _quantile(0.99, "batch", "size"),
    ("hvo-kernel", "Failures by errno", "A"): _some_rate("optimize_failures", "size", "error"),
    ("hvo-kernel", "Failures by errno", "B"): _some_rate("restore_failures", "size", "error"),
    ("hvo-kernel", "Known kernel bugs", "A"): _now("kernel_bug", "instance", "bug"),
    ("hvo-kernel", "Missed hits, lost events, map errors", "A"): _some_rate(
        "missed", "instance", "step"
    ),
    ("hvo-kernel", "Missed hits, lost events, map errors", "B"): _some_rate(
        "lost", "instance", "where"
    ),
    ("hvo-kernel", "Scrape duration", "A"): _largest("hvo_scrape_duration_seconds", "instance"),
    ("hvo-kernel", "Scrape duration", "B"): _largest(
        "hvo_scrape_collector_duration_seconds", "collector"
    ),
    ("hvo-kernel", "Failed collectors", "A"): _failed_collectors,
    ("hvo-kernel", "Exporter memory", "A"): _largest("process_resident_memory_bytes", "instance"),
}


UNPREDICTED: frozenset[Key] = frozenset(
    {
        ("hvo-host", "Firing alerts", "A"),
        ("hvo-host", "Alerts", "A"),
        ("hvo-fleet", "Hosts with alerts", "A"),
        ("hvo-fleet", "Hosts", "A"),
        ("hvo-fleet", "Hosts", "F"),
        ("hvo-fleet", "Hosts", "G"),
        ("hvo-fleet", "Firing alerts", "A"),
        ("hvo-fleet", "Top 10 by optimize latency", "A"),
        ("hvo-fleet", "Huge pages optimized and restored", "A"),
        ("hvo-fleet", "Huge pages optimized and restored", "B"),
        ("hvo-fleet", "Failures in the last hour", "A"),
        ("hvo-fleet", "Failures in the last hour", "B"),
    }
)
"""Panels of alerts, and of windows that are recorded: promtool's tests of the rules in
``dashboards/rules/tests/`` have their values. They must have a result here."""


def _not_one(o: Oracle) -> Values:
    return {k: v for k, v in o.now("drift", TARGET).items() if v % 512}


RULES: Mapping[Key, Expectation] = {
    ("rules", "instance:hvo_up:max", ""): lambda o: {
        labelled(job=OWN, instance=i, **dict(of_target(i))): up for i, up in o.up().items()
    },
    ("rules", "instance:hvo_saved_bytes:sum", ""): _saved(*TARGET),
    ("rules", "instance:hvo_possible_bytes:sum", ""): _now("possible", *TARGET),
    ("rules", "instance_size:hvo_saved:ratio", ""): lambda o: ratio(
        o.now("saved_now", (*TARGET, "size")), o.now("possible", (*TARGET, "size"))
    ),
    ("rules", "instance:hvo_probe_attached:max", ""): _largest("attached", *TARGET),
    ("rules", "instance_size_numa_node:hvo_frames_net:sum", ""): lambda o: difference(
        o.now("frames_freed", PAGE), o.now("frames_allocated", PAGE)
    ),
    ("rules", "instance:hvo_hugepages_optimized:rate5m", ""): _rate5m(
        "hugepages_optimized", *TARGET
    ),
    ("rules", "instance:hvo_hugepages_restored:rate5m", ""): _rate5m("hugepages_restored", *TARGET),
    ("rules", "job:hvo_up:count", ""): lambda o: _count(
        labelled(job=OWN, **_of_job(i)) for i in o.up()
    ),
    ("rules", "job:hvo_saved_bytes:sum", ""): _saved(*JOB),
    ("rules", "job:hvo_possible_bytes:sum", ""): _now("possible", *JOB),
    ("rules", "job:hvo_saved:ratio", ""): lambda o: ratio(
        o.now("saved_now", JOB), o.now("possible", JOB)
    ),
    ("rules", "job:hvo_enabled:count", ""): lambda o: o.now("enabled", JOB, len),
    ("rules", "job:hvo_enabled:sum", ""): _now("enabled", *JOB),
    ("rules", "job_kernel:hvo_backend_info:count", ""): lambda o: _count(
        labelled(job=OWN, kernel=kernel, **_of_job(i)) for i, kernel in o.machine_labels()
    ),
    ("rules", "HvoAccountingDrift", ""): _not_one,
    ("rules", "HvoExporterDown", ""): lambda o: {
        labelled(job=OWN, instance=i, **dict(of_target(i))): 0 for i, up in o.up().items() if not up
    },
}
"""Rules of state: promtool's tests have the values of those with windows."""


def _of_job(instance: str) -> dict[str, str]:
    return {name: value for name, value in of_target(instance) if name != "node"}


def _count(labels: Iterable[Labels]) -> Values:
    return {k: float(v) for k, v in Counter(labels).items()}

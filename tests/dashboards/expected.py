# SPDX-License-Identifier: Apache-2.0
"""The expected result of every query of panels and rules, computed by the oracle."""

from collections.abc import Callable, Mapping

from tests.dashboards.oracle import Oracle, Values, difference, labelled, ratio, scalar

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


def _drift_size(by: tuple[str, ...]) -> Expectation:
    return lambda o: o.now("drift", by, lambda values: max(map(abs, values)))


def _failing(o: Oracle) -> Values:
    failed = set()
    for fact in ("optimize_failures", "restore_failures"):
        for labels, value in o.increase(fact, ("instance",), SIX_HOURS).items():
            failed |= {labels} if value else set()
    return scalar(len(failed))


def _detached_machines(o: Oracle) -> Values:
    return scalar(sum(not v for v in o.now("attached", ("instance",), smallest).values()))


def _down(o: Oracle) -> Values:
    return scalar(sum(not up for up in o.up().values()))


def _kernels(o: Oracle) -> Values:
    kernels = [kernel for _, kernel in o.machine_labels()]
    return {labelled(kernel=k): kernels.count(k) for k in kernels}


def _symbols(o: Oracle) -> Values:
    return o.now("attached", ("symbol",), len, step="optimize")


def _failed_collectors(o: Oracle) -> Values:
    ran = o.now("hvo_scrape_collector_success", ("collector",), len)
    return difference(ran, o.now("hvo_scrape_collector_success", ("collector",)))


PAGE = ("job", "instance", "size", "numa_node")
EVERY_LABEL = ("job", "instance", "step", "symbol", "attach")

PANELS: Mapping[Key, Expectation] = {
    ("hvo-host", "Memory saved", "A"): _now("saved"),
    ("hvo-host", "HVO switch", "A"): lambda o: o.now("enabled", (), smallest),
    ("hvo-host", "Optimize failures", "A"): _in_six_hours("optimize_failures"),
    ("hvo-host", "Restore failures", "A"): _in_six_hours("restore_failures"),
    ("hvo-host", "Detached probes", "A"): _detached,
    ("hvo-host", "Accounting drift", "A"): _drift_size(()),
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
    ("hvo-host", "Skips and failures", "A"): _rate("hugepages_skipped", "reason"),
    ("hvo-host", "Skips and failures", "B"): _rate("optimize_failures", "error"),
    ("hvo-host", "Skips and failures", "C"): _rate("restore_failures", "error"),
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
    ("hvo-host", "Accounting drift over time", "A"): _now("drift", "job", "instance"),
    ("hvo-host", "Memmap frames", "A"): _now("memmap", "instance", "kind"),
    ("hvo-host", "Probes", "A"): _now("attached", *EVERY_LABEL),
    ("hvo-host", "Missed hits, lost events, map errors", "A"): _rate("missed", "step"),
    ("hvo-host", "Missed hits, lost events, map errors", "B"): _rate("lost", "where"),
    ("hvo-fleet", "Memory saved", "A"): _now("saved"),
    ("hvo-fleet", "Exporters up", "A"): lambda o: scalar(o.count_machines()),
    ("hvo-fleet", "Machines with HVO off", "A"): _off,
    ("hvo-fleet", "Machines with failures", "A"): _failing,
    ("hvo-fleet", "Machines with detached probes", "A"): _detached_machines,
    ("hvo-fleet", "Exporters down", "A"): _down,
    ("hvo-fleet", "Memory saved over time", "A"): _now("saved", "instance"),
    ("hvo-fleet", "Top 10 by memory saved", "A"): _now("saved", "instance"),
    ("hvo-fleet", "Machines", "A"): lambda o: {
        labelled(instance=instance, kernel=kernel): 1 for instance, kernel in o.machine_labels()
    },
    ("hvo-fleet", "Machines", "B"): _now("enabled", "instance"),
    ("hvo-fleet", "Machines", "C"): _now("saved", "instance"),
    ("hvo-fleet", "Machines", "D"): _in_six_hours("optimize_failures", "instance"),
    ("hvo-fleet", "Machines", "E"): _in_six_hours("restore_failures", "instance"),
    ("hvo-fleet", "Machines", "F"): lambda o: o.now("attached", ("instance",), smallest),
    ("hvo-fleet", "Machines", "G"): _drift_size(("instance",)),
    ("hvo-fleet", "Machines", "H"): lambda o: {
        labelled(instance=instance): up for instance, up in o.up().items()
    },
    ("hvo-fleet", "Machines by kernel", "A"): _kernels,
    ("hvo-fleet", "Machines by probed function", "A"): _symbols,
    ("hvo-fleet", "Top 10 by optimize latency", "A"): lambda o: o.quantile(
        0.99, "optimize", ("instance",), SIX_HOURS
    ),
    ("hvo-fleet", "Huge pages optimized by machine", "A"): _rate("hugepages_optimized", "instance"),
    ("hvo-fleet", "Failures by machine", "A"): _rate("optimize_failures", "instance"),
    ("hvo-fleet", "Failures by machine", "B"): _rate("restore_failures", "instance"),
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
    ("hvo-kernel", "Failures by errno", "A"): _rate("optimize_failures", "size", "error"),
    ("hvo-kernel", "Failures by errno", "B"): _rate("restore_failures", "size", "error"),
    ("hvo-kernel", "Known kernel bugs", "A"): _now("kernel_bug", "instance", "bug"),
    ("hvo-kernel", "Missed hits, lost events, map errors", "A"): _rate(
        "missed", "instance", "step"
    ),
    ("hvo-kernel", "Missed hits, lost events, map errors", "B"): _rate("lost", "instance", "where"),
    ("hvo-kernel", "Scrape duration", "A"): _largest("hvo_scrape_duration_seconds", "instance"),
    ("hvo-kernel", "Scrape duration", "B"): _largest(
        "hvo_scrape_collector_duration_seconds", "collector"
    ),
    ("hvo-kernel", "Failed collectors", "A"): _failed_collectors,
    ("hvo-kernel", "Exporter memory", "A"): _largest("process_resident_memory_bytes", "instance"),
}


def _mean(which: str) -> Expectation:
    by = ("job", "instance", "size")
    return lambda o: ratio(
        o.increase(f"{which}_sum", by, 240), o.increase(f"{which}_count", by, 240)
    )


def _in_15_minutes(fact: str, *by: str) -> Expectation:
    """Increase over 15 minutes, of which Prometheus has scrapes of 14."""
    by = ("job", "instance", *by)
    return lambda o: {k: v for k, v in o.increase(fact, by, 840, lead=60).items() if v}


def _in_30_minutes(o: Oracle, fact: str) -> Values:
    return {k: v for k, v in o.increase(fact, ("job", "instance", "size"), 1800).items() if v}


def _switched_off(o: Oracle) -> Values:
    return {k: v for k, v in o.now("enabled", ("job", "instance")).items() if not v}


def _surplus_of_failures(o: Oracle) -> Values:
    by = ("job", "instance", "size")
    now = o.now("pool_surplus", by)
    before = o.earlier(1800).now("pool_surplus", by)
    failed = _in_30_minutes(o, "restore_failures")
    return {k: v for k, v in now.items() if v > before[k] and k in failed}


def _drifted(o: Oracle) -> Values:
    return {k: abs(v) for k, v in o.now("drift", ("job", "instance")).items() if v}


def _slow(o: Oracle) -> Values:
    """Return slow machines: only edge-1 ever is, twenty times slower; see ``TOLERANCES``."""
    slow = {k: v for k, v in _mean("optimize")(o).items() if v > SLOW_SECONDS}
    return {k: v for k, v in slow.items() if ("size", "2MB") in k}


def _gone(o: Oracle) -> Values:
    return {labelled(job="hvoscope", instance=i): 0 for i, up in o.up().items() if not up}


SLOW_SECONDS = 50e-6
"""Above the mean of 2 MB pages on any machine that is not slow."""

TOLERANCES: Mapping[Key, float] = {("rules", "HvoOptimizeSlow", ""): 0.25}
"""Relative tolerance of results that are not exact: this rule uses values recorded some seconds
before; the rule that records them is exact."""

RULES: Mapping[Key, Expectation] = {
    ("rules", "job:hvo_memmap_saved_bytes:sum", ""): _now("saved", "job"),
    ("rules", "instance_size_node:hvo_frames_net:sum", ""): lambda o: difference(
        o.now("frames_freed", ("job", "instance", "size", "numa_node")),
        o.now("frames_allocated", ("job", "instance", "size", "numa_node")),
    ),
    ("rules", "instance_size:hvo_hugepages_optimized:rate5m", ""): lambda o: {
        key: value / 240
        for key, value in o.increase(
            "hugepages_optimized", ("job", "instance", "size"), 240
        ).items()
    },
    ("rules", "instance_size:hvo_optimize_duration_seconds:mean5m", ""): _mean("optimize"),
    ("rules", "instance_size:hvo_restore_duration_seconds:mean5m", ""): _mean("restore"),
    ("rules", "HvoNotSaving", ""): lambda _: {},
    ("rules", "HvoSwitchedOff", ""): _switched_off,
    ("rules", "HvoOptimizeFailures", ""): _in_15_minutes("optimize_failures", "size", "error"),
    ("rules", "HvoRestoreFailures", ""): _in_15_minutes("restore_failures", "size", "error"),
    ("rules", "HvoSurplusGrowth", ""): _surplus_of_failures,
    ("rules", "HvoProbeDetached", ""): lambda _: {},
    ("rules", "HvoProbeMissed", ""): _in_15_minutes("missed", "step"),
    ("rules", "HvoCountsLost", ""): _in_15_minutes("lost", "where"),
    ("rules", "HvoAccountingDrift", ""): _drifted,
    ("rules", "HvoOptimizeSlow", ""): _slow,
    ("rules", "HvoExporterDown", ""): _gone,
}

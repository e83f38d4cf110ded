# SPDX-License-Identifier: Apache-2.0
"""The collector on a simulated kernel, whose operations have known results."""

import re
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest

from exporter.metrics import catalogue
from exporter.metrics.collector import HvoCollector
from probes.backend import Backend
from probes.kernel.host import Host
from probes.live.backend import LiveBackend
from probes.operations import parse_operation
from sim_backend.backend import SimBackend
from sim_backend.kernel.sim_kernel import SimKernel


def scrape(backend: Backend) -> dict[str, float]:
    """Return the samples of a scrape by ``name{labels}``."""
    registry = CollectorRegistry()
    registry.register(HvoCollector(backend))
    lines = generate_latest(registry).decode().splitlines()
    return {
        line.rpartition(" ")[0]: float(line.rpartition(" ")[2])
        for line in lines
        if not line.startswith("#")
    }


def simulated(*operations: str, generation: str = "v17-enabled") -> dict[str, float]:
    backend = SimBackend(SimKernel(generation, nodes=2, seed=3), stream=True)
    backend.start()
    for text in operations:
        backend.operate(parse_operation(text))
    samples = scrape(backend)
    backend.stop()
    return samples


def test_counters_by_size_and_node() -> None:
    samples = simulated("grow 2MB 23", "shrink 2MB 3", "hvo off", "grow 2MB 2")
    assert samples['hvo_hugepages_optimized_total{numa_node="0",size="2MB"}'] == 12
    assert samples['hvo_hugepages_optimized_total{numa_node="1",size="2MB"}'] == 11
    assert samples['hvo_ptes_remapped_total{numa_node="0",size="2MB"}'] == 12 * 6
    assert samples['hvo_frames_freed_total{numa_node="1",size="2MB"}'] == 11 * 6
    assert samples['hvo_frames_freed_total{numa_node="1",size="1GB"}'] == 0
    skipped = [v for k, v in samples.items() if "skipped_total" in k and 'reason="off"' in k]
    assert sum(skipped) == 2
    restored = [v for k, v in samples.items() if k.startswith("hvo_ptes_restored_total")]
    assert sum(restored) == 3 * 6
    assert samples["hvo_enabled"] == 0


def test_the_new_head_page_is_an_allocation() -> None:
    samples = simulated("grow 1GB 1", generation="6.2")
    assert samples['hvo_ptes_remapped_total{numa_node="0",size="1GB"}'] == 4096
    assert samples['hvo_frames_allocated_total{cause="head",numa_node="0",size="1GB"}'] == 1


def test_histograms_are_cumulative_and_in_seconds() -> None:
    samples = simulated("grow 2MB 23")
    name = "hvo_optimize_duration_seconds"
    pattern = re.compile(rf'{name}_bucket{{le="([^"]+)",size="2MB"}}')
    buckets = [(m[1], v) for k, v in samples.items() if (m := pattern.fullmatch(k))]
    assert [le for le, _ in buckets][:4] == ["1e-06", "2e-06", "5e-06", "1e-05"]
    assert buckets[-1] == ("+Inf", 23)
    counts = [count for _, count in buckets]
    assert counts == sorted(counts)
    assert samples[f'{name}_count{{size="2MB"}}'] == 23
    # In the simulation's model a page takes 8 to 32 microseconds, plus the time per PTE.
    assert 23 * 1e-6 < samples[f'{name}_sum{{size="2MB"}}'] < 23 * 1e-3


def test_pools_and_memmap() -> None:
    samples = simulated("grow 2MB 5")
    assert samples['hvo_pool_hugepages{numa_node="0",size="2MB"}'] == 3
    assert samples['hvo_pool_free_hugepages{numa_node="1",size="2MB"}'] == 2
    before = simulated()
    kinds = ('hvo_memmap_pages{kind="boot"}', 'hvo_memmap_pages{kind="runtime"}')
    assert sum(before[k] - samples[k] for k in kinds) == 5 * 6


def test_a_simulated_scrape_is_marked() -> None:
    samples = simulated()
    assert samples['hvo_backend_info{backend="sim",kernel="v17-enabled",mode="simulated"}'] == 1
    attached = [k for k in samples if k.startswith("hvo_probe_attached")]
    assert len(attached) == 5  # this generation has no batches
    assert all('attach="simulated"' in k for k in attached)


def test_names_and_labels_are_the_catalogues() -> None:
    known = {metric.name: set(metric.labels) for metric in catalogue.ALL}
    seen = set()
    # The simulated 6.7 also has the memmap counters, which real kernels have from 6.11 on.
    for key in simulated("grow 2MB 1", generation="6.7"):
        name = re.sub(r"_(total|bucket|sum|count)$", "", key.partition("{")[0])
        labels = set(re.findall(r'(\w+)="', key)) - {"le"}
        assert labels == known[name], key
        seen.add(name)
    simulated_names = {metric.name for metric in catalogue.ALL if "sim" in metric.backends}
    assert seen == simulated_names - {"hvo_kernel_bug"}


def test_a_kernel_bug_has_a_series_only_where_it_is() -> None:
    bug = 'hvo_kernel_bug{bug="restore-leak"}'
    assert simulated(generation="6.12.114")[bug] == simulated(generation="6.18.51")[bug] == 1
    assert bug not in simulated(generation="6.11")
    assert bug not in simulated(generation="7.1")


def test_reserved_pages_have_an_empty_node() -> None:
    samples = simulated("grow 2MB 5", "overcommit 2MB 3")
    assert samples['hvo_pool_reserved_hugepages{size="2MB"}'] == 0
    assert samples['hvo_pool_overcommit_hugepages{size="2MB"}'] == 3


def test_saved_bytes_are_the_decrease_of_memmap_frames() -> None:
    assert simulated()["hvo_memmap_saved_bytes"] == 0
    samples = simulated("grow 2MB 23", "grow 1GB 1", "shrink 2MB 3", generation="7.1")
    assert samples["hvo_memmap_saved_bytes"] == (20 * 7 + 4095) * 4096


def test_drift_is_0_if_probes_and_kernel_agree() -> None:
    samples = simulated("grow 2MB 23", "shrink 2MB 3", "grow 1GB 1", generation="7.1")
    assert samples["hvo_accounting_drift_frames"] == 0


def test_batches_exist_where_the_kernel_batches() -> None:
    batched = simulated("grow 2MB 23", generation="6.7")
    assert batched['hvo_optimize_batch_duration_seconds_count{size="2MB"}'] == 1
    assert batched['hvo_optimize_batch_duration_seconds_count{size="1GB"}'] == 0
    assert not [key for key in simulated("grow 2MB 23") if "batch" in key]


def test_without_probes_and_state_only_exporter_metrics_exist(
    tmp_path: Path,
) -> None:
    host = Host(tmp_path, tmp_path, tmp_path, "6.1.0-test")
    samples = scrape(LiveBackend(host))
    own = {metric.exposed_name for metric in catalogue.OWN}
    assert {key.partition("{")[0] for key in samples} == own

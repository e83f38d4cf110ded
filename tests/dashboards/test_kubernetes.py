# SPDX-License-Identifier: Apache-2.0
"""Rules and targets under the Prometheus Operator: PrometheusRule, and the PodMonitor's labels."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from dashboards.rules import FILES, HOST_LABELS, SELECTOR
from dashboards.rules.kubernetes import FILE, MANIFESTS, prometheus_rule
from dashboards.rules.options import Options
from exporter.metrics.catalogue import ALL
from tests.tools import need

ROOT = Path(__file__).parents[2]
MONITOR: dict[str, Any] = yaml.safe_load((MANIFESTS / "podmonitor.yaml").read_text())
NODE, POD = "node-1", "hvoscope-x7k2p"
JOB = "podMonitor/hvoscope/hvoscope/0"
"""The operator's name of the scrape configuration; promtool is asked for it."""
TARGET = {"job", "instance", "node", "namespace", "pod", "container", "endpoint"}

KEYS = {
    "metadata": {"name", "labels"},
    "spec": {"jobLabel", "selector", "podMetricsEndpoints"},
    "endpoint": {"port", "path", "interval", "honorLabels", "relabelings"},
    "relabeling": {"sourceLabels", "targetLabel", "action", "regex"},
}
"""Keys of the CRD (monitoring.coreos.com_podmonitors.yaml) that the file uses.

No package has the CRD's schema as such: the one with models made from it takes half a minute to
import and accepts unknown keys, which are what is checked here.
"""


def promtool(*arguments: str | Path) -> str:
    command = [need("promtool", "prometheus"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARN" not in done.stdout + done.stderr
    return done.stdout


def test_the_committed_resource_is_made_of_the_rules() -> None:
    text = (MANIFESTS / FILE).read_text()
    assert text == prometheus_rule(Options()), (
        f"python -m dashboards.rules --kubernetes {MANIFESTS}"
    )
    groups = yaml.safe_load(text)["spec"]["groups"]
    assert groups == [
        group for path in FILES for group in yaml.safe_load(path.read_text())["groups"]
    ]


def test_promtool_accepts_its_groups(tmp_path: Path) -> None:
    """The operator writes ``spec`` as the rule file."""
    rules = yaml.safe_load((MANIFESTS / FILE).read_text())["spec"]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules))
    count = sum(len(group["rules"]) for group in rules["groups"])
    assert f"SUCCESS: {count} rules found" in promtool("check", "rules", tmp_path / "rules.yaml")


def test_the_command_writes_it_with_options(tmp_path: Path) -> None:
    options = ("--kubernetes", "--runbooks", "https://wiki.example/hvo", "--label", "team=vm")
    command = [sys.executable, "-m", "dashboards.rules", str(tmp_path), *options]
    subprocess.run(command, cwd=ROOT, check=True)
    assert [path.name for path in tmp_path.iterdir()] == [str(FILE)]
    wanted = prometheus_rule(Options(labels={"team": "vm"}, runbooks="https://wiki.example/hvo"))
    assert (tmp_path / FILE).read_text() == wanted


def test_the_pod_monitor_has_only_keys_of_its_kind() -> None:
    (endpoint,) = MONITOR["spec"]["podMetricsEndpoints"]
    assert set(MONITOR) == {"apiVersion", "kind", "metadata", "spec"}
    assert set(MONITOR["metadata"]) == KEYS["metadata"]
    assert set(MONITOR["spec"]) == KEYS["spec"]
    assert set(endpoint) == KEYS["endpoint"]
    assert set().union(*endpoint["relabelings"]) == KEYS["relabeling"]


def test_a_target_has_the_labels_that_rules_and_dashboards_expect(tmp_path: Path) -> None:
    labels = relabeled(tmp_path)
    assert labels == {
        "job": "hvoscope",
        "instance": NODE,
        "node": NODE,
        "namespace": "hvoscope",
        "container": "hvoscope",
        "endpoint": "metrics",
    }
    assert labels["job"] in SELECTOR
    # Of what differs between the pods of the job, everything is a label of hosts.
    assert {name for name, value in labels.items() if value in (NODE, POD)} <= set(HOST_LABELS)


def test_no_metric_has_a_label_of_a_target() -> None:
    """Else honorLabels would let a metric's label replace the target's."""
    assert MONITOR["spec"]["podMetricsEndpoints"][0]["honorLabels"] is True
    assert not TARGET & {label for metric in ALL for label in metric.labels}


def relabeled(folder: Path) -> dict[str, str]:
    """Labels of a pod's target, by Prometheus: what the operator sets, then the PodMonitor's.

    The operator's part is that of its own tests (pkg/prometheus/testdata, ...PodMonitor...).
    """
    (endpoint,) = MONITOR["spec"]["podMetricsEndpoints"]
    pod_label = "__meta_kubernetes_pod_label_" + MONITOR["spec"]["jobLabel"].translate(
        str.maketrans("./-", "___")
    )
    discovered = {
        "__meta_kubernetes_namespace": "hvoscope",
        "__meta_kubernetes_pod_name": POD,
        "__meta_kubernetes_pod_node_name": NODE,
        "__meta_kubernetes_pod_container_name": "hvoscope",
        "__meta_kubernetes_pod_container_port_name": "metrics",
        pod_label: "hvoscope",
    }
    operators = [
        _keep("__meta_kubernetes_pod_container_port_name", endpoint["port"]),
        _copy("__meta_kubernetes_namespace", "namespace"),
        _copy("__meta_kubernetes_pod_container_name", "container"),
        _copy("__meta_kubernetes_pod_name", "pod"),
        {"target_label": "job", "replacement": "hvoscope/hvoscope"},
        {**_copy(pod_label, "job"), "regex": "(.+)"},
        {"target_label": "endpoint", "replacement": endpoint["port"]},
    ]
    names = {"sourceLabels": "source_labels", "targetLabel": "target_label"}
    own = [
        {names.get(key, key): value for key, value in step.items()}
        for step in endpoint["relabelings"]
    ]
    (folder / "targets.json").write_text(
        json.dumps([{"targets": ["10.0.0.7:10917"], "labels": discovered}])
    )
    scrape = {
        "job_name": JOB,
        "file_sd_configs": [{"files": [str(folder / "targets.json")]}],
        "relabel_configs": [*operators, *own],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump({"scrape_configs": [scrape]}))
    found = promtool(
        *("check", "service-discovery", "--timeout=5s"),  # it always waits so long
        *(folder / "prometheus.yml", JOB),
    )
    (target,) = json.loads(found[found.index("[") :])
    return {name: value for name, value in target["labels"].items() if name[:2] != "__"}


def _copy(source: str, target: str) -> dict[str, Any]:
    return {"source_labels": [source], "target_label": target}


def _keep(source: str, regex: str) -> dict[str, Any]:
    return {"source_labels": [source], "regex": regex, "action": "keep"}

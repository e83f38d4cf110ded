# SPDX-License-Identifier: Apache-2.0
"""The manifests for Kubernetes: rendered by kubectl, checked by schemas, their arguments run."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from dashboards.boards.build import texts
from dashboards.rules.kubernetes import prometheus_rule
from dashboards.rules.options import Options
from exporter.cli.serve import serve_command
from exporter.cli.web_options import DEFAULT_ADDRESS
from exporter.web.addresses import TcpAddress
from tests.docs import blocks
from tests.packaging.kustomize import DAEMONS, FOLDER, ROOT, container, only, pod, rendered
from tests.tools import need

pytestmark = pytest.mark.packaging

NO_PROBES = "overlays/no-probes"
KUBERNETES = ("1.25", kubernetes_validate.latest_version())
"""Releases whose schemas must accept every resource: the oldest and newest that are packaged."""
CAPABILITIES: Mapping[str, list[str]] = {NO_PROBES: []}
WITH_PROBES = ["BPF", "PERFMON", "SYSLOG"]
PROGRAMS = "/var/lib/hvoscope/programs", "/usr/lib/hvoscope/programs", True
MOUNTS: Mapping[str, set[tuple[str, str, bool]]] = {
    "base": {PROGRAMS},
    NO_PROBES: set(),
    "overlays/compile-on-host": {
        PROGRAMS,
        ("/lib/modules", "/lib/modules", True),
        ("/usr/src", "/usr/src", True),
        ("/var/lib/hvoscope/cache", "/var/cache/hvoscope", False),
    },
    "overlays/programs-in-image": set(),
    "overlays/selected-nodes": {PROGRAMS},
}
"""Of each kustomization: path on the node, path in the container, and whether it is read-only."""
APPLY_LIMIT = 256 * 1024
"""The longest annotation, in which `kubectl apply` keeps a whole resource."""

each = pytest.mark.parametrize("name", DAEMONS)


@pytest.mark.parametrize("release", KUBERNETES)
@pytest.mark.parametrize("name", [*DAEMONS, "monitoring"])
def test_schemas_of_kubernetes_accept_the_core_resources(name: str, release: str) -> None:
    core = [one for one in rendered(FOLDER / name) if "coreos" not in one["apiVersion"]]
    assert core
    for resource in core:
        kubernetes_validate.validate(resource, release, strict=True)


def test_the_schemas_find_a_wrong_key() -> None:
    wrong = json.loads(
        json.dumps(only("DaemonSet", "base")).replace("readOnlyRoot", "readonlyRoot")
    )
    with pytest.raises(kubernetes_validate.ValidationError, match="readonlyRootFilesystem"):
        kubernetes_validate.validate(wrong, KUBERNETES[-1], strict=True)


@each
def test_a_pod_has_exactly_the_capabilities_that_probes_take(name: str) -> None:
    capabilities = container(name)["securityContext"]["capabilities"]
    assert capabilities["drop"] == ["ALL"]
    assert capabilities.get("add", []) == CAPABILITIES.get(name, WITH_PROBES)


@each
def test_a_pod_may_do_nothing_else(name: str) -> None:
    spec, context = pod(name), container(name)["securityContext"]
    assert not {"hostNetwork", "hostPID", "hostIPC", "hostUsers", "initContainers"} & set(spec)
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"] == {"seccompProfile": {"type": "RuntimeDefault"}}
    assert context["privileged"] is context["allowPrivilegeEscalation"] is False
    assert context["readOnlyRootFilesystem"] is True
    assert "seccompProfile" not in context
    # Capabilities of another user than root are not effective.
    assert (context["runAsUser"] == 0) == bool(context["capabilities"].get("add"))
    assert "memory" in container(name)["resources"]["limits"]


def test_no_probes_is_allowed_by_the_level_restricted() -> None:
    """As the Pod Security Standards define it; what is asserted of every pod is not repeated."""
    labels = only("Namespace", NO_PROBES)["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    assert not pod(NO_PROBES)["volumes"]
    context = container(NO_PROBES)["securityContext"]
    assert context["runAsNonRoot"] is True
    assert context["runAsUser"] > 0
    assert "hostPort" not in container(NO_PROBES)["ports"][0]


@each
def test_folders_of_the_node_are_read_only_except_the_cache(name: str) -> None:
    volumes = {volume["name"]: volume for volume in pod(name)["volumes"]}
    mounts = container(name)["volumeMounts"]
    assert sorted(volumes) == sorted(mount["name"] for mount in mounts)
    found = {
        (
            volumes[mount["name"]]["hostPath"]["path"],
            mount["mountPath"],
            mount.get("readOnly", False),
        )
        for mount in mounts
        if "hostPath" in volumes[mount["name"]]
    }
    assert found == MOUNTS[name]
    others = {key for one in volumes.values() for key in one} - {"name", "hostPath"}
    assert others <= {"emptyDir"}


@each
def test_the_command_line_accepts_the_arguments(name: str) -> None:
    assert container(name)["image"] == ("hvoscope-bcc" if "compile" in name else "hvoscope")
    command, *arguments = container(name)["args"]
    assert command == "serve"
    options = serve_command.make_context(command, arguments).params
    (port,) = container(name)["ports"]
    assert options["addresses"] == (TcpAddress("::", port["containerPort"]),)
    assert DEFAULT_ADDRESS.endswith(f":{port['containerPort']}")
    assert options["backend"] == ("state" if name == NO_PROBES else "bcc")
    inside = {mount["mountPath"] for mount in container(name)["volumeMounts"]}
    assert not inside or {str(options["programs"])} <= inside
    writable = {at for _, at, read_only in MOUNTS[name] if not read_only}
    assert not writable or {str(options["cache"])} == writable


@pytest.mark.parametrize("name", ["base", NO_PROBES, "overlays/compile-on-host"])
def test_the_exporter_answers_the_kubelet_with_these_arguments(name: str) -> None:
    """Started without any capability; only the backend of those with probes is simulated."""
    if os.geteuid():
        pytest.skip("as root, who may make a network namespace")
    one = container(name)
    probes = [one[probe]["httpGet"]["path"] for probe in ("livenessProbe", "readinessProbe")]
    assert all(one[p]["httpGet"]["port"] == "metrics" for p in ("livenessProbe", "readinessProbe"))
    metrics = _endpoint()["path"]
    wanted = [*probes, metrics, "/-/ready"]
    simulated = [] if name == NO_PROBES else ["--backend=sim"]
    done = subprocess.run(
        [
            *(need("unshare", "util-linux"), "--net"),
            *(sys.executable, "-m", "tests.packaging.in_pod", ",".join(wanted)),
            *(*one["args"], *simulated),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answers: dict[str, Any] = json.loads(done.stdout)
    assert {path: status for path, (status, _) in answers.items()} == dict.fromkeys(wanted, 200)
    assert "hvo_build_info{" in answers[metrics][1]


@each
def test_selectors_find_the_pods(name: str) -> None:
    daemon, monitor = only("DaemonSet", name), only("PodMonitor", "monitoring")
    labels = daemon["spec"]["template"]["metadata"]["labels"].items()
    for selector in (daemon["spec"]["selector"], monitor["spec"]["selector"]):
        assert list(selector) == ["matchLabels"]
        assert selector["matchLabels"].items() <= labels
    assert _endpoint()["port"] == container(name)["ports"][0]["name"]
    namespaces = {one["metadata"].get("namespace") for one in rendered(FOLDER / "monitoring")}
    assert namespaces == {daemon["metadata"]["namespace"]} == {_namespace(name)}


def test_nodes_can_be_chosen() -> None:
    wanted = pod("base")["nodeSelector"] | {"hvoscope": "on"}
    assert pod("overlays/selected-nodes")["nodeSelector"] == wanted


def test_the_rules_are_those_of_prometheus() -> None:
    assert only("PrometheusRule", "monitoring") == {
        **(made := yaml.safe_load(prometheus_rule(Options()))),
        "metadata": made["metadata"] | {"namespace": "hvoscope"},
    }


def test_each_dashboard_is_a_config_map_for_grafanas_sidecar() -> None:
    maps = [one for one in rendered(FOLDER / "monitoring") if one["kind"] == "ConfigMap"]
    assert {name: text for one in maps for name, text in one["data"].items()} == texts()
    assert len(maps) == len(texts())
    for one in maps:
        assert one["metadata"]["labels"] == {"grafana_dashboard": "1"}


@pytest.mark.parametrize("name", [*DAEMONS, "monitoring"])
def test_kubectl_apply_can_keep_each_resource_in_an_annotation(name: str) -> None:
    for resource in rendered(FOLDER / name):
        assert len(json.dumps(resource)) < APPLY_LIMIT, resource["metadata"]["name"]


def test_the_kustomizations_of_the_guide_render(tmp_path: Path) -> None:
    page = (ROOT / "docs/kubernetes.md").read_text()
    shown = [block for block in blocks(page) if block.key == "file"]
    assert {block.value for block in shown} >= {"kustomization.yaml", "tls.yaml"}
    for block in shown:
        base = os.path.relpath(FOLDER, tmp_path)
        text = re.sub(r"hvoscope/packaging/kubernetes", base, block.text)
        (tmp_path / block.value).write_text(text)
    (tmp_path / "prometheusrule.yaml").write_text(
        prometheus_rule(Options(runbooks="https://wiki.example/hvo"))
    )
    found = {one["kind"]: one for one in rendered(tmp_path)}
    (one,) = found["DaemonSet"]["spec"]["template"]["spec"]["containers"]
    assert one["image"] == "registry.example/hvoscope:0.1.0"
    rules = found["PrometheusRule"]["spec"]["groups"]
    assert len(rules) == len(yaml.safe_load(prometheus_rule(Options()))["spec"]["groups"])
    assert "https://wiki.example/hvo/HvoNoProbes.md" in str(rules)
    assert "hvoscope.example" not in str(rules)
    serve_command.make_context("serve", one["args"][1:])
    assert one["livenessProbe"]["httpGet"]["scheme"] == "HTTPS"
    assert one["readinessProbe"]["httpGet"]["scheme"] == "HTTPS"
    kubernetes_validate.validate(found["DaemonSet"], KUBERNETES[-1], strict=True)


def _endpoint() -> dict[str, Any]:
    (found,) = only("PodMonitor", "monitoring")["spec"]["podMetricsEndpoints"]
    endpoint: dict[str, Any] = found
    return endpoint


def _namespace(name: str) -> str:
    found: str = only("Namespace", name)["metadata"]["name"]
    return found

# SPDX-License-Identifier: Apache-2.0
"""The manifests as `kubectl apply -k` would send them."""

import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.tools import need

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "packaging/kubernetes"
OVERLAYS = tuple(sorted(path.name for path in (FOLDER / "overlays").iterdir()))
DAEMONS = ("base", *(f"overlays/{name}" for name in OVERLAYS))
"""Every kustomization that has the DaemonSet."""

Resource = dict[str, Any]


@cache
def rendered(folder: Path) -> tuple[Resource, ...]:
    """The resources of a kustomization, by kubectl. Nothing may change them."""
    command = (need("kubectl", "kubernetes-client"), "kustomize", str(folder))
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return tuple(yaml.safe_load_all(done.stdout))


def only(kind: str, name: str) -> Resource:
    """The resource of this kind in a kustomization of ``packaging/kubernetes/``."""
    (found,) = (one for one in rendered(FOLDER / name) if one["kind"] == kind)
    return found


def pod(name: str) -> Resource:
    """The specification of the DaemonSet's pods."""
    found: Resource = only("DaemonSet", name)["spec"]["template"]["spec"]
    return found


def container(name: str) -> Resource:
    """The one container of the pods."""
    (found,) = pod(name)["containers"]
    one: Resource = found
    return one

# SPDX-License-Identifier: Apache-2.0
"""The filter of system calls that container runtimes have by default, for given capabilities."""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

PROFILE = Path("/usr/share/containers/seccomp.json")
"""Of podman and CRI-O (Debian's package golang-github-containers-common, which buildah needs)."""

BY_CAPABILITY = {
    "CAP_BPF": "bpf",
    "CAP_PERFMON": "perf_event_open",
    "CAP_SYSLOG": "syslog",
}
"""What Docker 23 (moby/moby#43987) and containerd 1.7 (containerd/containerd#7301) allow to a
container with a capability. Debian 12's profile wants CAP_SYS_ADMIN for it."""


def runtime_default(capabilities: Collection[str]) -> dict[str, Any]:
    """``linux.seccomp`` of the OCI runtime specification, on x86-64."""
    profile = json.loads(PROFILE.read_text())
    allowed = {BY_CAPABILITY[name] for name in capabilities if name in BY_CAPABILITY}
    rules = [_rule(rule, allowed) for rule in profile["syscalls"] if _applies(rule, capabilities)]
    own = {"names": sorted(allowed), "action": "SCMP_ACT_ALLOW"}
    return {
        "defaultAction": profile["defaultAction"],
        "defaultErrnoRet": profile["defaultErrnoRet"],
        "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [rule for rule in (*rules, own) if rule["names"]],
    }


def _applies(rule: dict[str, Any], capabilities: Collection[str]) -> bool:
    includes, excludes = rule.get("includes") or {}, rule.get("excludes") or {}
    return (
        set(includes.get("caps", ())) <= set(capabilities)
        and not set(excludes.get("caps", ())) & set(capabilities)
        and "amd64" in includes.get("arches", ("amd64",))
    )


def _rule(rule: dict[str, Any], allowed: Collection[str]) -> dict[str, Any]:
    kept = {key: rule[key] for key in ("action", "args", "errnoRet") if rule.get(key) is not None}
    return {"names": [name for name in rule["names"] if name not in allowed], **kept}

# SPDX-License-Identifier: Apache-2.0
"""What a run was measured on: facts that explain figures, none that names the machine."""

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

from probes.geometry import GIB

_PROGRAMS = {
    "QEMU": ("qemu-system-x86_64", "--version"),
    "bpftrace": ("bpftrace", "--version"),
    "node_exporter": ("prometheus-node-exporter", "--version"),
}
_LIBRARIES = ("prometheus-client", "h11", "click", "numpy")


def facts(proc: Path = Path("/proc")) -> dict[str, str]:
    """Name -> value, in the order to print them in."""
    kernel = os.uname()
    found = {
        "processor": f"{_processor(proc)}, {len(os.sched_getaffinity(0))} cores to run on",
        "memory": f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / GIB:.0f} GiB",
        "kernel": f"Linux {kernel.release.split('-')[0]} {kernel.machine}",
        "system": platform.freedesktop_os_release()["PRETTY_NAME"],
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
    }
    for name in _LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    for name, command in _PROGRAMS.items():
        if said := _first_line(command):
            found[name] = said
    return found


def _processor(proc: Path) -> str:
    lines = (proc / "cpuinfo").read_text().splitlines()
    return next((line.split(": ")[1] for line in lines if line.startswith("model name")), "unknown")


def _first_line(command: tuple[str, ...]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except OSError:
        return ""
    return (done.stdout + done.stderr).strip().split("\n")[0]

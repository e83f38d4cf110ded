# SPDX-License-Identifier: Apache-2.0
"""The guest's side of a run: its initramfs, made of busybox, modules and two small scripts."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.guests.cpio import Entry, archive
from tests.guests.kernels import Kernel
from tests.guests.modules import needed, read_module

_HERE = Path(__file__).parent
_ENV = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "TERM": "dumb",
}


@dataclass(frozen=True)
class Job:
    """The command to run in the guest, and where its results go (the same path on both sides)."""

    argv: Sequence[str]
    out: Path
    cwd: Path
    env: Mapping[str, str] = field(default_factory=dict)


def initramfs(kernel: Kernel, job: Job, busybox: Path) -> bytes:
    """The whole initramfs, uncompressed: unpacking costs the guest more than reading it."""
    entries = [
        Entry("init", (_HERE / "guest-init.sh").read_bytes(), 0o755),
        Entry("bin/busybox", busybox.read_bytes(), 0o755),
        Entry("guest/busybox", busybox.read_bytes(), 0o755),
        Entry("guest/main.sh", (_HERE / "guest-main.sh").read_bytes()),
        Entry("guest/spec.sh", spec_script(kernel, job).encode()),
        Entry("guest/command.sh", command_script(job).encode()),
    ]
    for number, path in enumerate(needed(kernel.modules) if kernel.modules else []):
        entries.append(Entry(f"modules/{number:02}.ko", read_module(path)))
    return archive(entries)


def spec_script(kernel: Kernel, job: Job) -> str:
    """What `guest-main.sh` needs to know of this run."""
    links = [f"    link {shlex.quote(at)} {shlex.quote(str(to))}" for at, to in kernel.links]
    body = "\n".join(links) or "    :"
    return f"out={shlex.quote(str(job.out))}\nlinks() {{\n{body}\n}}\n"


def command_script(job: Job) -> str:
    """The command itself, with nothing in its environment but what it was given."""
    env = [f"{name}={value}" for name, value in {**_ENV, **job.env}.items()]
    return (
        f"cd {shlex.quote(str(job.cwd))} || exit 126\n"
        f"exec /usr/bin/env -i {shlex.join([*env, *job.argv])}\n"
    )

# SPDX-License-Identifier: Apache-2.0
"""Messages between daemon and loader over a Unix socket: a request, and a handover of descriptors.

A request and its go-ahead, the handover in return, and then the baseline of a census. Descriptors
are sent with the handover (SCM_RIGHTS), in the order of the names in it.
"""

import json
import os
import socket
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from probes.baseline import Baseline
from probes.counters import PageKey
from probes.kernel.host import Host
from probes.observation import Absent, ProbeStatus

NOTHING = "nothing"
"""Attach type of a request for checks only."""

AUTO, KPROBE, FENTRY = ATTACHES = ("auto", "kprobe", "fentry")
"""Attach types: ``auto`` is fentry if kernel, BTF and BCC support it, else kprobe."""

AT_RETURN = "_return"
"""Suffix of BPF functions that run at the return of a kernel function."""

_GO = b"go"
_MAX_BYTES = 1 << 16
_MAX_DESCRIPTORS = 64


@dataclass(frozen=True)
class Request:
    """Request to the loader: probe options, and the machine (``probes.kernel.host.Host``)."""

    mode: str
    attach: str
    stream: bool
    stacks: bool
    """The stream has kernel stacks."""
    cache: str
    """Folder of the program cache; empty for none."""
    programs: str
    """Folder of shipped programs; empty for none."""
    proc: str
    sys: str
    modules: str
    release: str

    @classmethod
    def of(
        cls,
        host: Host,
        *,
        mode: str,
        attach: str,
        stream: bool,
        stacks: bool = False,
        cache: Path | None,
        programs: Path | None = None,
    ) -> "Request":
        """Create a request; paths are converted to text for JSON."""
        roots = (str(host.proc), str(host.sys), str(host.modules))
        folders = (str(cache or ""), str(programs or ""))
        return cls(mode, attach, stream, stacks, *folders, *roots, host.release)

    @classmethod
    def of_checks(cls, host: Host) -> "Request":
        """Create a request to attach nothing."""
        return cls.of(host, mode="", attach=NOTHING, stream=False, cache=None)

    @property
    def host(self) -> Host:
        """The machine as a ``Host``."""
        return Host(Path(self.proc), Path(self.sys), Path(self.modules), self.release)

    @property
    def cache_folder(self) -> Path | None:
        """Folder of the program cache; None for none."""
        return Path(self.cache) if self.cache else None

    @property
    def programs_folder(self) -> Path | None:
        """Folder of shipped programs; None for none."""
        return Path(self.programs) if self.programs else None


@dataclass
class Handover:
    """Result of the loader: what it attached, or ``problem``, one line why it attached nothing."""

    problem: str = ""
    origin: str = ""
    """Whether the program was compiled now or taken from the cache."""
    supported: bool | None = None
    checks: dict[str, bool] = field(default_factory=dict)
    """As in ``probes.backend.Info``."""
    probes: list[ProbeStatus] = field(default_factory=list)
    orders: tuple[int, ...] = ()
    nodes: int = 0
    cpus: int = 0
    stream_bytes: int = 0
    sees_dropped_returns: bool = False
    """The BPF program itself counts returns that the kernel dropped for lack of return probes."""
    descriptors: dict[str, int] = field(default_factory=dict)
    """``counters``; ``events`` (with a stream); ``stacks`` (with stacks);
    ``link:STEP:ATTACH:FUNCTION`` and ``program:STEP:ATTACH:FUNCTION`` for each attached BPF
    function."""

    def close(self) -> None:
        """Close all descriptors; the kernel then removes the probes and maps."""
        while self.descriptors:
            os.close(self.descriptors.popitem()[1])


def send_baseline(sock: socket.socket, baseline: Baseline | Absent) -> None:
    """Send what the census found. Raises ``OSError``."""
    if isinstance(baseline, Absent):
        message: dict[str, Any] = {"reason": baseline.reason}
    else:
        message = {
            "optimized": [[*key, pages] for key, pages in baseline.optimized.items()],
            "frames_each": list(baseline.frames_each.items()),
            "taken": baseline.taken,
        }
    sock.send(json.dumps(message).encode())


def receive_baseline(sock: socket.socket) -> Baseline | Absent:
    """Receive it. Raises ``OSError``."""
    data = sock.recv(_MAX_BYTES)
    if not data:
        return Absent("the loader ended before it had taken a census")
    message = json.loads(data)
    if "reason" in message:
        return Absent(message["reason"])
    optimized = {PageKey(order, node): pages for order, node, pages in message["optimized"]}
    return Baseline(optimized, dict(message["frames_each"]), message["taken"])


def send_request(sock: socket.socket, request: Request) -> None:
    """Send a request to the loader. Raises ``OSError``."""
    sock.send(json.dumps(asdict(request)).encode())


def receive_request(sock: socket.socket) -> Request | None:
    """Receive the daemon's request; None if the daemon ended without one. Raises ``OSError``."""
    data = sock.recv(_MAX_BYTES)
    return Request(**json.loads(data)) if data else None


def send_go(sock: socket.socket) -> None:
    """Let the loader handle its request. Raises ``OSError``."""
    sock.send(_GO)


def receive_go(sock: socket.socket) -> bool:
    """Wait for it; False if the daemon ended without. Raises ``OSError``."""
    return sock.recv(_MAX_BYTES) == _GO


def send_handover(sock: socket.socket, handover: Handover) -> None:
    """Send the handover and its descriptors. Raises ``OSError``."""
    message = {k: v for k, v in asdict(handover).items() if k != "descriptors"}
    message["names"] = list(handover.descriptors)
    socket.send_fds(sock, [json.dumps(message).encode()], list(handover.descriptors.values()))


def receive_handover(sock: socket.socket) -> Handover | None:
    """Receive the handover; None if the loader ended without one. Raises ``OSError``."""
    data, descriptors, _, _ = socket.recv_fds(sock, _MAX_BYTES, _MAX_DESCRIPTORS)
    for descriptor in descriptors:  # recv_fds can't set MSG_CMSG_CLOEXEC (Python 3.11)
        os.set_inheritable(descriptor, False)
    if not data:
        return None
    message: dict[str, Any] = json.loads(data)
    names = message.pop("names")
    message["probes"] = [ProbeStatus(**probe) for probe in message["probes"]]
    message["orders"] = tuple(message["orders"])
    return Handover(**message, descriptors=dict(zip(names, descriptors, strict=True)))

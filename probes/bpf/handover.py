# SPDX-License-Identifier: Apache-2.0
"""What the loader hands to the daemon over a Unix socket: what it attached, and descriptors.

One message each way. Descriptors travel beside the answer (SCM_RIGHTS) in the order it names them.
"""

import json
import os
import socket
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from probes.kernel.host import Host
from probes.observation import ProbeStatus

AUTO, KPROBE, FENTRY = ATTACHES = ("auto", "kprobe", "fentry")
"""How to attach: ``auto`` is fentry where kernel, BTF and BCC can, kprobe elsewhere."""

AT_RETURN = "_return"
"""How the names of BPF functions end that run when a kernel function returns."""

_LARGEST = 1 << 16
_MAX_DESCRIPTORS = 64


@dataclass(frozen=True)
class Request:
    """What the loader is asked for, and on which machine (``probes.kernel.host.Host``)."""

    mode: str
    attach: str
    stream: bool
    cache: str
    """Folder of compiled programs; empty for none."""
    proc: str
    sys: str
    modules: str
    release: str

    @classmethod
    def of(
        cls, host: Host, *, mode: str, attach: str, stream: bool, cache: Path | None
    ) -> "Request":
        """Make a request; sockets carry no paths, so they go as text."""
        roots = (str(host.proc), str(host.sys), str(host.modules))
        return cls(mode, attach, stream, str(cache or ""), *roots, host.release)

    @property
    def host(self) -> Host:
        """The machine again."""
        return Host(Path(self.proc), Path(self.sys), Path(self.modules), self.release)

    @property
    def cache_folder(self) -> Path | None:
        """Folder of compiled programs."""
        return Path(self.cache) if self.cache else None


@dataclass
class Handover:
    """What the loader attached, or ``problem``: one line why it attached nothing."""

    problem: str = ""
    origin: str = ""
    """Where the program came from: compiled now or before."""
    probes: list[ProbeStatus] = field(default_factory=list)
    orders: tuple[int, ...] = ()
    nodes: int = 0
    cpus: int = 0
    stream_bytes: int = 0
    sees_dropped_returns: bool = False
    """The program itself counts returns for which the kernel had no return probe left."""
    descriptors: dict[str, int] = field(default_factory=dict)
    """``counters``, ``events`` (with a stream); ``link:STEP:ATTACH:FUNCTION`` and
    ``program:STEP:ATTACH:FUNCTION`` for each BPF function that is attached."""

    def close(self) -> None:
        """Close every descriptor; the kernel then removes what hung on them."""
        while self.descriptors:
            os.close(self.descriptors.popitem()[1])


def send_request(sock: socket.socket, request: Request) -> None:
    """Ask the loader. Raises ``OSError``."""
    sock.send(json.dumps(asdict(request)).encode())


def receive_request(sock: socket.socket) -> Request | None:
    """Read what the daemon asks for; None when it ended instead. Raises ``OSError``."""
    data = sock.recv(_LARGEST)
    return Request(**json.loads(data)) if data else None


def send_handover(sock: socket.socket, handover: Handover) -> None:
    """Send the answer and its descriptors. Raises ``OSError``."""
    message = {k: v for k, v in asdict(handover).items() if k != "descriptors"}
    message["names"] = list(handover.descriptors)
    socket.send_fds(sock, [json.dumps(message).encode()], list(handover.descriptors.values()))


def receive_handover(sock: socket.socket) -> Handover | None:
    """Read the answer; None when the loader died without one. Raises ``OSError``."""
    data, descriptors, _, _ = socket.recv_fds(sock, _LARGEST, _MAX_DESCRIPTORS)
    for descriptor in descriptors:  # recv_fds passes no MSG_CMSG_CLOEXEC on (Python 3.11)
        os.set_inheritable(descriptor, False)
    if not data:
        return None
    message: dict[str, Any] = json.loads(data)
    names = message.pop("names")
    message["probes"] = [ProbeStatus(**probe) for probe in message["probes"]]
    message["orders"] = tuple(message["orders"])
    return Handover(**message, descriptors=dict(zip(names, descriptors, strict=True)))

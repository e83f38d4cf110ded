# SPDX-License-Identifier: Apache-2.0
"""The loader: a short-lived child that compiles and attaches, hands over descriptors, and exits.

BCC brings LLVM with it, more than 100 MB of memory; so it never enters the daemon. Probes live as
long as the descriptors handed over: when the daemon dies, however, the kernel removes them.

Run as ``python -m probes.live.loader SOCKET_DESCRIPTOR``; ``probes.live.backend`` does.
"""

import os
import socket
import sys
from types import ModuleType
from typing import Any

from probes import preflight
from probes.accounting import huge_page_sizes
from probes.backend import STEPS
from probes.geometry import Geometry
from probes.host import Host, possible_cpus, possible_nodes
from probes.live.attach import Attacher, AttachError
from probes.live.bcc_import import BccMissingError, import_bcc
from probes.live.btf import Btf
from probes.live.handover import (
    AUTO,
    FENTRY,
    KPROBE,
    Handover,
    Request,
    receive_request,
    send_handover,
)
from probes.live.layout import Layout
from probes.live.plan import find_switch, make_plan
from probes.live.program import (
    STREAM_PAGES,
    KernelFacts,
    entry_points,
    kernel_facts,
    source,
)
from probes.live.symbols import read_symbols

# Inside out: an operation that is seen to begin must be seen whole.
_ATTACH_ORDER = ("restore_pte", "remap_pte", "remap_range", "restore", "optimize", "batch")


class LoadError(Exception):
    """Nothing could be attached; the message is one line with the fix."""


def load(request: Request) -> Handover:
    """Compile, attach, and return what to hand over. Raises ``LoadError``."""
    host = request.host
    found = preflight.obstacles(host)
    if found:
        raise LoadError("; ".join(map(str, found)))
    bcc = _import_bcc()
    btf = _read_btf(host)
    fentry = request.attach != KPROBE and bcc.BPF.support_kfunc()
    if request.attach == FENTRY and not fentry:
        raise LoadError(
            "fentry asked for, but this kernel or BCC has none: use --probe.attach auto"
        )
    try:
        return _load_as(request, bcc, btf, fentry=fentry)
    except AttachError as error:
        if request.attach != AUTO or not fentry:
            raise LoadError(str(error)) from error
    return _load_as(request, bcc, btf, fentry=False)


def _load_as(request: Request, bcc: ModuleType, btf: Btf, *, fentry: bool) -> Handover:
    """Compile and attach, all or nothing as far as trampolines are concerned.

    Raises ``LoadError``, and ``AttachError`` when a trampoline could not be attached.
    """
    page_size = os.sysconf("SC_PAGE_SIZE")
    symbols = read_symbols(request.host.proc / "kallsyms")
    plan = make_plan(symbols, request.mode)
    layout = _layout(request.host, page_size)
    points = {step.step: entry_points(step, btf, fentry) for step in plan}
    text = source(
        _facts(btf),
        layout,
        page_size,
        [point for step in points.values() for point in step],
        switch=find_switch(symbols),
        stream=request.stream,
        steps=points.keys(),
    )
    bpf = _compile(bcc, text)
    handover = Handover(orders=layout.orders, nodes=layout.nodes, cpus=layout.cpus)
    handover.descriptors["counters"] = bpf["counters"].map_fd
    if request.stream:
        handover.descriptors["events"] = bpf["events"].map_fd
        handover.stream_bytes = STREAM_PAGES * page_size
    by_step = {step.step: step for step in plan}
    attacher = Attacher(bcc, bpf)
    for name in sorted(by_step, key=_ATTACH_ORDER.index):
        handover.probes += attacher.attach(by_step[name], points[name], handover.descriptors)
    handover.probes.sort(key=lambda probe: STEPS.index(probe.step))
    return handover


def _layout(host: Host, page_size: int) -> Layout:
    sizes = huge_page_sizes(host)
    if not sizes:
        raise LoadError(
            f"{host.sys}/kernel/mm/hugepages lists no huge page size: "
            "the kernel needs CONFIG_HUGETLBFS and a CPU with huge pages"
        )
    geometry = Geometry(page_size)
    return Layout(
        orders=tuple(geometry.order(size) for size in sizes),
        nodes=max(possible_nodes(host)) + 1,
        cpus=max(possible_cpus(host)) + 1,
    )


def _read_btf(host: Host) -> Btf:
    path = host.sys / "kernel/btf/vmlinux"
    try:
        return Btf.read(path)
    except OSError as error:
        raise LoadError(
            f"{path} can't be read ({error.strerror}): the kernel needs CONFIG_DEBUG_INFO_BTF"
        ) from error
    except ValueError as error:
        raise LoadError(f"{path}: {error}: hvoscope can't read it") from error


def _facts(btf: Btf) -> KernelFacts:
    try:
        return kernel_facts(btf)
    except KeyError as error:
        raise LoadError(f"the kernel's BTF does not describe {error}") from error


def _import_bcc() -> ModuleType:
    try:
        return import_bcc()
    except BccMissingError as error:
        raise LoadError(str(error)) from error


def _compile(bcc: ModuleType, text: str) -> Any:
    class Program(bcc.BPF):  # type: ignore[misc, name-defined]  # BCC has no types
        def _trace_autoload(self) -> None:
            """Attach nothing by itself: the order matters."""

    try:
        # Headers newer than BCC make its clang warn; nobody here can act on that.
        return Program(text=text.encode(), cflags=["-Wno-everything"])
    except Exception as error:  # BCC raises bare Exception; the cause is on stderr
        raise LoadError(f"BCC could not compile the probes ({error})") from error


def main() -> None:
    """Answer the one request on the socket whose descriptor is the first argument."""
    with socket.socket(fileno=int(sys.argv[1])) as sock:
        request = receive_request(sock)
        try:
            handover = load(request)
        except LoadError as error:
            handover = Handover(problem=str(error))
        send_handover(sock, handover)
    # Leave without BCC's exit handlers: they would detach what was just handed over.
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main()

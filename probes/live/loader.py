# SPDX-License-Identifier: Apache-2.0
"""The loader: a short-lived child that compiles and attaches, hands over descriptors, and exits.

BCC brings LLVM with it, more than 100 MB of memory; so it never enters the daemon. Probes live as
long as the descriptors handed over: when the daemon dies, however, the kernel removes them.

Run as ``python -m probes.live.loader SOCKET_DESCRIPTOR``; ``probes.live.backend`` does.
"""

import os
import socket
import sys
from collections.abc import Mapping
from typing import Any

from probes import preflight
from probes.accounting import huge_page_sizes
from probes.backend import STEPS, ProbeStatus
from probes.geometry import Geometry
from probes.host import Host, possible_cpus, possible_nodes
from probes.live.bcc_import import BccMissingError, import_bcc
from probes.live.btf import Btf
from probes.live.handover import Handover, Request, receive_request, send_handover
from probes.live.layout import Layout
from probes.live.plan import CANDIDATES, Candidate, choose, find_switch
from probes.live.program import STREAM_PAGES, kernel_facts, source
from probes.live.symbols import read_symbols

# Functions of hvo.bpf.c by step: at entry, and at return (empty: none).
_FUNCTIONS: Mapping[str, tuple[str, str]] = {
    "optimize": ("optimize_enter", "optimize_exit"),
    "remap_range": ("remap_range_enter", "remap_range_exit"),
    "remap_pte": ("remap_pte", ""),
    "restore": ("restore_enter", "restore_exit"),
    "restore_pte": ("restore_pte", ""),
}


class LoadError(Exception):
    """Nothing could be attached; the message is one line with the fix."""


def load(request: Request) -> Handover:
    """Compile, attach, and return what to hand over. Raises ``LoadError``."""
    host = request.host
    found = preflight.obstacles(host)
    if found:
        raise LoadError("; ".join(map(str, found)))
    page_size = os.sysconf("SC_PAGE_SIZE")
    symbols = read_symbols(host.proc / "kallsyms")
    plan = choose(symbols)
    layout = _layout(host, page_size)
    text = source(
        _facts(host),
        layout,
        page_size,
        plan,
        switch=find_switch(symbols),
        stream=request.stream,
    )
    bpf = _compile(text)
    handover = Handover(orders=layout.orders, nodes=layout.nodes, cpus=layout.cpus)
    handover.descriptors["counters"] = bpf["counters"].map_fd
    if request.stream:
        handover.descriptors["events"] = bpf["events"].map_fd
        handover.stream_bytes = STREAM_PAGES * page_size
    for step in STEPS:
        handover.probes.append(_attach_step(bpf, step, plan[step], handover.descriptors))
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


def _facts(host: Host) -> Any:
    path = host.sys / "kernel/btf/vmlinux"
    try:
        return kernel_facts(Btf.read(path))
    except OSError as error:
        raise LoadError(
            f"{path} can't be read ({error.strerror}): the kernel needs CONFIG_DEBUG_INFO_BTF"
        ) from error
    except (KeyError, ValueError) as error:
        raise LoadError(f"{path} does not describe {error}: hvoscope can't read it") from error


def _compile(text: str) -> Any:
    try:
        bcc = import_bcc()
    except BccMissingError as error:
        raise LoadError(str(error)) from error
    try:
        # Headers newer than BCC make its clang warn; nobody here can act on that.
        return bcc.BPF(text=text.encode(), cflags=["-Wno-everything"])
    except Exception as error:  # BCC raises bare Exception; the cause is on stderr
        raise LoadError(f"BCC could not compile the probes ({error})") from error


def _attach_step(
    bpf: Any, step: str, chosen: Candidate | None, descriptors: dict[str, int]
) -> ProbeStatus:
    if chosen is None:
        names = ", ".join(candidate.symbol for candidate in CANDIDATES[step])
        return ProbeStatus(step, False, reason=f"the kernel has none of: {names}")
    links: dict[str, int] = {}
    try:
        enter, leave = _FUNCTIONS[step]
        if leave:  # first, so that no entry is seen whose return is not
            links[f"link:{leave}"] = _attach(bpf, chosen.symbol, leave, at_return=True)
        links[f"link:{enter}"] = _attach(bpf, chosen.symbol, enter, at_return=False)
    except Exception as error:  # BCC raises bare Exception
        for descriptor in links.values():
            os.close(descriptor)
        return ProbeStatus(step, False, chosen.symbol, reason=_one_line(error))
    descriptors.update(links)
    return ProbeStatus(step, True, chosen.symbol, "kprobe")


def _attach(bpf: Any, symbol: str, function: str, *, at_return: bool) -> int:
    """Attach one function and return the descriptor that keeps it attached."""
    attach = bpf.attach_kretprobe if at_return else bpf.attach_kprobe
    attach(event=symbol, fn_name=function)
    for functions in bpf.kprobe_fds.values():
        if function.encode() in functions:
            return int(functions[function.encode()])
    raise LookupError(f"BCC attached {function} but shows no descriptor for it")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or repr(error)


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

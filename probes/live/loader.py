# SPDX-License-Identifier: Apache-2.0
"""The loader: a short-lived child that compiles and attaches, hands over descriptors, and exits.

BCC brings LLVM with it, more than 100 MB of memory; so it never enters the daemon. Probes live as
long as the descriptors handed over: when the daemon dies, however, the kernel removes them.

Run as ``python -m probes.live.loader SOCKET_DESCRIPTOR``; ``probes.live.backend`` does.
"""

import os
import platform
import socket
import sys
import time
from collections.abc import Mapping

from probes import preflight
from probes.bpf.attach import Attacher, AttachError
from probes.bpf.bcc_import import BccMissingError, bcc_version, import_bcc
from probes.bpf.compiler import CompileError, compile_text
from probes.bpf.compose import ComposeError, compose
from probes.bpf.handover import (
    AUTO,
    FENTRY,
    KPROBE,
    Handover,
    Request,
    receive_request,
    send_handover,
)
from probes.bpf.libbcc import LibBcc
from probes.bpf.object_code import ObjectCode
from probes.bpf.program import SETTINGS_MAP, STREAM_PAGES, Setting
from probes.bpf.program_cache import ProgramCache, key_of
from probes.kernel.hooks import find_switch
from probes.kernel.kallsyms import find_return_trampoline, has_trampolines
from probes.preflight.facts import Facts


class LoadError(Exception):
    """Nothing could be attached; the message is one line with the fix."""


def load(request: Request) -> Handover:
    """Compile, attach, and return what to hand over. Raises ``LoadError``."""
    facts = Facts(request.host, cache=request.cache_folder)
    found = preflight.obstacles(facts)
    if found:
        raise LoadError("; ".join(map(str, found)))
    fentry = (
        request.attach != KPROBE
        and facts.known_btf is not None
        and has_trampolines(facts.known_symbols, platform.machine())
    )
    if request.attach == FENTRY and not fentry:
        raise LoadError(
            "fentry asked for, but this kernel has no trampolines, or no BTF to make them by: "
            "use --probe.attach auto"
        )
    try:
        return _load_as(request, facts, fentry=fentry)
    except AttachError as error:
        if request.attach != AUTO or not fentry:
            raise LoadError(str(error)) from error
    return _load_as(request, facts, fentry=False)


def _load_as(request: Request, facts: Facts, *, fentry: bool) -> Handover:
    """Compile and attach, all or nothing as far as trampolines are concerned.

    Raises ``LoadError``, and ``AttachError`` when a trampoline could not be attached.
    """
    symbols, btf = facts.known_symbols, facts.known_btf
    try:
        made = compose(
            request.host, symbols, btf, request.mode, stream=request.stream, fentry=fentry
        )
    except ComposeError as error:
        raise LoadError(str(error)) from error
    layout = made.layout
    program, origin = _program(made.text, facts, ProgramCache(facts.cache))
    library = _library()
    settings = {
        Setting.SWITCH: find_switch(symbols),
        Setting.RETURN_TRAMPOLINE: find_return_trampoline(symbols),
    }
    maps = _make_maps(library, program, settings)
    handover = Handover(origin=origin, orders=layout.orders, nodes=layout.nodes, cpus=layout.cpus)
    handover.sees_dropped_returns = settings[Setting.RETURN_TRAMPOLINE] != 0
    handover.descriptors["counters"] = maps["counters"]
    if request.stream:
        handover.descriptors["events"] = maps["events"]
        handover.stream_bytes = STREAM_PAGES * made.page_size
    attacher = Attacher(
        library, program, maps, request.host.sys / "bus/event_source/devices/kprobe"
    )
    for step in made.plan:
        handover.probes += attacher.attach(step, made.points[step.step], handover.descriptors)
    # Without it, what was left unfinished goes only when the thread's number comes again.
    attacher.attach_task_exit(made.task_exit, handover.descriptors)
    _set(library, maps, {Setting.ARMED: 1})
    return handover


def _program(text: str, facts: Facts, cache: ProgramCache) -> tuple[ObjectCode, str]:
    """The compiled text and, in a few words, where it came from. Raises ``LoadError``."""
    version = bcc_version(facts.distro_packages)
    key = key_of(text, platform.machine(), version)
    if kept := cache.get(key):
        return kept, f"compiled before by BCC {version}"
    if obstacle := preflight.headers_missing(facts):
        raise LoadError(str(obstacle))
    began = time.monotonic()
    try:
        program = compile_text(import_bcc(facts.distro_packages), text)
    except (BccMissingError, CompileError) as error:
        raise LoadError(str(error)) from error
    origin = f"compiled by BCC {version} in {time.monotonic() - began:.1f} s"
    problem = cache.put(key, program)
    return program, f"{origin}, not kept: {problem}" if problem else f"{origin}, and kept"


def _library() -> LibBcc:
    try:
        return LibBcc()
    except OSError as error:
        raise LoadError(f"BCC's library can't be loaded ({error}): reinstall BCC") from error


def _make_maps(
    library: LibBcc, program: ObjectCode, settings: Mapping[Setting, int]
) -> dict[str, int]:
    try:
        maps = library.create_maps(program.maps)
    except OSError as error:
        raise LoadError(f"{error.strerror or error}: it needs CAP_BPF, and memory") from error
    _set(library, maps, settings)
    return maps


def _set(library: LibBcc, maps: Mapping[str, int], settings: Mapping[Setting, int]) -> None:
    try:
        for which, value in settings.items():
            library.set_u64(maps[SETTINGS_MAP], which, value)
    except OSError as error:
        raise LoadError(f"the probes can't be armed ({error.strerror or error})") from error


def main() -> None:
    """Answer the one request on the socket whose descriptor is the first argument."""
    with socket.socket(fileno=int(sys.argv[1])) as sock:
        request = receive_request(sock)
        if request is None:  # the daemon has ended before it asked
            return
        try:
            handover = load(request)
        except LoadError as error:
            handover = Handover(problem=str(error))
        send_handover(sock, handover)
    # Leave without BCC's exit handlers: nothing here is theirs to undo.
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main()

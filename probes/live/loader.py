# SPDX-License-Identifier: Apache-2.0
"""The loader: a short-lived child that compiles, attaches, hands over descriptors, takes a census,
and exits.

BCC loads LLVM, which takes more than 100 MB of memory, so the daemon never imports it. The probes
exist as long as the handed-over descriptors are open: the kernel removes them when the daemon ends
for any reason.

``probes.live.loader_process`` runs it as ``python -m probes.live.loader SOCKET_DESCRIPTOR``.
"""

import os
import platform
import socket
import struct
import sys
import time
from collections.abc import Iterable, Mapping

from probes import preflight
from probes.bpf.attach import Attacher, AttachError
from probes.bpf.bcc_import import BccMissingError, bcc_version, import_bcc
from probes.bpf.compiler import CompileError, compile_text
from probes.bpf.compose import ComposeError, compose
from probes.bpf.handover import (
    AUTO,
    FENTRY,
    KPROBE,
    NOTHING,
    Handover,
    Request,
    receive_go,
    receive_request,
    send_handover,
)
from probes.bpf.load import create_maps, set_element
from probes.bpf.object_code import ObjectCode
from probes.bpf.program import SETTINGS_MAP, STREAM_PAGES, Setting
from probes.bpf.program_cache import ProgramCache, has_programs, key_of, shipped
from probes.kernel.hooks import find_switch
from probes.kernel.kallsyms import find_return_trampoline, has_trampolines
from probes.live.census import hand_over_baseline
from probes.preflight.facts import Facts
from probes.preflight.finding import Finding


class LoadError(Exception):
    """The probes could not be attached; the message is one line with the fix."""


def handover_of(request: Request, facts: Facts) -> Handover:
    """Check, attach if asked to, and return what came of it."""
    findings = preflight.at_start(facts)
    try:
        handover = Handover() if request.attach == NOTHING else load(request, facts, findings)
    except LoadError as error:
        handover = Handover(problem=str(error))
    handover.supported = preflight.supported(findings)
    handover.checks = preflight.results(findings)
    return handover


def load(request: Request, facts: Facts, findings: Iterable[Finding]) -> Handover:
    """Compile, attach, and return the handover. Raises ``LoadError``."""
    if problems := preflight.problems(findings):
        raise LoadError("; ".join(map(str, problems)))
    fentry = (
        request.attach != KPROBE
        and facts.known_btf is not None
        and has_trampolines(facts.known_symbols, platform.machine())
    )
    if request.attach == FENTRY and not fentry:
        raise LoadError(
            "fentry was requested, but this kernel has no BPF trampolines or no BTF: "
            "use --probe.attach auto"
        )
    try:
        return _load_as(request, facts, fentry=fentry)
    except AttachError as error:
        if request.attach != AUTO or not fentry:
            raise LoadError(str(error)) from error
    return _load_as(request, facts, fentry=False)


def _load_as(request: Request, facts: Facts, *, fentry: bool) -> Handover:
    """Compile and attach; a trampoline that can't be attached fails the whole load.

    Raises ``LoadError``, or ``AttachError`` if a trampoline can't be attached.
    """
    symbols, btf = facts.known_symbols, facts.known_btf
    try:
        composition = compose(
            request.host,
            symbols,
            btf,
            request.mode,
            stream=request.stream,
            fentry=fentry,
            stacks=request.stacks,
        )
    except ComposeError as error:
        raise LoadError(str(error)) from error
    layout = composition.layout
    program, origin = _program(composition.text, facts, ProgramCache(facts.cache))
    settings = {
        Setting.SWITCH: find_switch(symbols),
        Setting.RETURN_TRAMPOLINE: find_return_trampoline(symbols),
    }
    maps = _make_maps(program, settings)
    handover = Handover(origin=origin, orders=layout.orders, nodes=layout.nodes, cpus=layout.cpus)
    handover.sees_dropped_returns = settings[Setting.RETURN_TRAMPOLINE] != 0
    handover.descriptors["counters"] = maps["counters"]
    if request.stream:
        handover.descriptors["events"] = maps["events"]
        handover.stream_bytes = STREAM_PAGES * composition.page_size
    if request.stacks:
        handover.descriptors["stacks"] = maps["stacks"]
    attacher = Attacher(program, maps, btf, request.host.sys / "bus/event_source/devices/kprobe")
    for step in composition.steps:
        points = composition.points[step.step]
        handover.probes += attacher.attach(step, points, handover.descriptors)
    # Optional: without it, an unfinished operation is removed only when its thread id is reused.
    attacher.attach_task_exit(composition.task_exit, handover.descriptors)
    _set(maps, {**settings, Setting.ARMED: 1})
    return handover


def _program(text: str, facts: Facts, cache: ProgramCache) -> tuple[ObjectCode, str]:
    """Return the compiled program and, for the log, its origin. Raises ``LoadError``."""
    key = key_of(text, platform.machine())
    try:
        if ready := shipped(facts.programs, key):
            return ready, f"compiled elsewhere, from {facts.programs}"
    except ValueError as error:
        raise LoadError(str(error)) from error
    version = bcc_version(facts.distro_packages)
    key = key_of(text, platform.machine(), version)
    if cached := cache.get(key):
        return cached, f"loaded from the cache, compiled by BCC {version}"
    if missing := preflight.headers_missing(facts):
        raise LoadError(str(missing))
    began = time.monotonic()
    try:
        program = compile_text(import_bcc(facts.distro_packages), text)
    except BccMissingError as error:
        raise LoadError(f"{_nothing_shipped(facts)}{error}") from error
    except CompileError as error:
        raise LoadError(str(error)) from error
    origin = f"compiled by BCC {version} in {time.monotonic() - began:.1f} s"
    problem = cache.put(key, program)
    return program, f"{origin}, not cached: {problem}" if problem else f"{origin}, and cached"


def _nothing_shipped(facts: Facts) -> str:
    if facts.programs is None or not has_programs(facts.programs):
        return ""
    return (
        f"{facts.programs} has no program for this kernel, its CPUs, nodes and huge page sizes "
        "(hvoscope compile on a host like this one); "
    )


def _make_maps(program: ObjectCode, settings: Mapping[Setting, int]) -> dict[str, int]:
    try:
        maps = create_maps(program.maps)
    except OSError as error:
        raise LoadError(
            f"{error.strerror or error}: run with CAP_BPF and check the free memory"
        ) from error
    _set(maps, settings)
    return maps


def _set(maps: Mapping[str, int], settings: Mapping[Setting, int]) -> None:
    try:
        values = (settings.get(which, 0) for which in Setting)
        set_element(maps[SETTINGS_MAP], struct.pack(f"={len(Setting)}Q", *values))
    except OSError as error:
        raise LoadError(f"the probes can't be armed ({error.strerror or error})") from error


def main() -> None:
    """Handle one request on the socket whose descriptor is the first argument."""
    with socket.socket(fileno=int(sys.argv[1])) as sock:
        request = receive_request(sock)
        if request is None:  # the daemon ended without a request
            return
        facts = Facts(request.host, cache=request.cache_folder, programs=request.programs_folder)
        if request.attach != NOTHING:
            facts.read_ahead()
        if not receive_go(sock):
            return
        handover = handover_of(request, facts)
        send_handover(sock, handover)
        if handover.descriptors:
            hand_over_baseline(sock, handover, facts)
    # Skip BCC's exit handlers: there is nothing for them to clean up.
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main()

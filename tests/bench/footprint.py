# SPDX-License-Identifier: Apache-2.0
"""Memory, threads, descriptors and start of the daemon, beside a tool that keeps its compiler."""

import http
import json
import socket
import subprocess
import tempfile
import time
import venv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.bench import servers
from tests.bench.figures import Figure, Ratio, Section, Table, figure, table
from tests.bench.in_guest import ROOT, run_module
from tests.bench.scrape import PLAIN, Client
from tests.exporter.web import hostile
from tests.exporter.web.certificates import WEB_CONFIG, client, write_server
from tests.guests import kernel_matrix, tools
from tests.guests.precompiled import with_programs
from tests.guests.qemu import Host
from tests.process import Taken, taken

KERNEL = "debian-6.12-113"
"""The later 6.12 leak huge pages."""
NODES = 2
QUICK_SCRAPES, SCRAPES = (100, 300), (100, 1000, 10_000)
LIVE_SCRAPES = (100, 1000, 2000)
"""As many as emulation does in two minutes."""
STARTS = 5
STALLED, STALLED_GOAL_MIB = 200, 40
MEMORY_MIB, TIMEOUT_S = 8 * 1024, 900
SYSTEM_PYTHON = "/usr/bin/python3"

BCC_PACKAGES = ("python3-bpfcc", "libbpfcc", "libclang-cpp14", "libllvm14")
"""Debian 12's BCC with its compiler: hvoscope's loader uses it, and ends."""
OTHER_PACKAGES = ("bpftrace", "prometheus-node-exporter")

Kinds = Sequence[Callable[[hostile.Where], socket.socket]]
HALF_IN_HANDSHAKE: Kinds = (hostile.a_hello, hostile.half_a_request_in_tls)
STALLS = {
    "silent since it connected": hostile.silent,
    "after half a ClientHello": hostile.half_a_hello,
    "after a ClientHello": hostile.a_hello,
    "after the handshake, in its request": hostile.half_a_request_in_tls,
}

Looks = Mapping[int, Taken]
"""By scrapes before; 0 is the start."""


def measure(quick: bool) -> Section:
    """Below 20 s and without a guest if ``quick``, else some minutes."""
    with tempfile.TemporaryDirectory() as folder:
        simulated = watched(Path(folder), QUICK_SCRAPES if quick else SCRAPES)
        starts = figure(start_seconds(Path(folder)) for _ in range(2 if quick else STARTS))
        _, stalled = besieged(Path(folder))
        if quick:
            return section(simulated, stalled, starts, None, [])
        each = {stall: besieged(Path(folder), (kind,)) for stall, kind in STALLS.items()}
        more = [_stalled(each), _sizes(Path(folder))]
    with tempfile.TemporaryDirectory(prefix="hvo-bench-") as folder:
        return section(simulated, stalled, starts, guest_notes(Path(folder)), more)


def watched(folder: Path, counts: tuple[int, ...]) -> Looks:
    """A simulating daemon after so many scrapes."""
    with servers.hvoscope(folder, NODES) as server:
        servers.await_pools(server, NODES)
        looks, done = {0: taken(server.pid)}, 0
        client = Client(server, PLAIN)
        for count in counts:
            for _ in range(count - done):
                if client.scrape()[1] != http.HTTPStatus.OK:
                    raise RuntimeError("a scrape was refused")
            done = count
            looks[count] = taken(server.pid)
        client.close()
    return looks


def besieged(folder: Path, kinds: Kinds = HALF_IN_HANDSHAKE) -> tuple[Taken, Taken]:
    """A simulating daemon with TLS, without clients and with ``STALLED`` of these kinds."""
    write_server(folder)
    config = folder / "web.yml"
    config.write_text(WEB_CONFIG)
    context = client()
    with servers.hvoscope(folder, NODES, "--web.config.file", str(config)) as server:
        servers.await_pools(server, NODES, context)
        alone = taken(server.pid)
        with hostile.stalled(("127.0.0.1", server.port), kinds, STALLED):
            servers.metrics(server, context)  # answered after all that came before
            return alone, taken(server.pid)


def start_seconds(folder: Path) -> float:
    """Seconds from start to ready, simulated."""
    began = time.perf_counter()
    with servers.hvoscope(folder, NODES):
        return time.perf_counter() - began


def guest_notes(out: Path) -> Mapping[str, Any]:
    """What a guest saw of the live daemon and of the plain tool."""
    Host.find()
    tools.require("bcc")
    (out / "programs").mkdir()  # made here it is root's alone, as the daemon wants its cache
    words = (str(out), SYSTEM_PYTHON, *map(str, LIVE_SCRAPES))
    run_module(
        with_programs(kernel_matrix.provide(KERNEL)),  # for the row of shipped ones
        out,
        "tests.bench.footprint_guest",
        *words,
        memory_mib=MEMORY_MIB,
        timeout_s=TIMEOUT_S,
    )
    notes: Mapping[str, Any] = json.loads((out / "footprint.json").read_text())
    return notes


def section(
    simulated: Looks,
    stalled: Taken,
    starts: Figure,
    notes: Mapping[str, Any] | None,
    more: list[Table],
) -> Section:
    """Tables and ratios; ``notes`` are the guest's, None where there was none."""
    most = max(simulated)
    ratios = {
        "footprint.simulated_growth": Ratio(
            simulated[most].rss_kib / simulated[min(n for n in simulated if n)].rss_kib,
            about="RSS after the last scrapes over that after the first 100, simulated",
        ),
        "footprint.stalled_mib": Ratio(
            stalled.rss_kib / 1024,
            goal=STALLED_GOAL_MIB,
            about=f"RSS in MiB, simulated, with TLS and {STALLED} stalled clients, half of them in"
            " the handshake",
        ),
    }
    tables = [_growth("simulated, on this machine", simulated)]
    ready = [("simulated, on this machine", _seconds(starts.values))]
    quoted: tuple[Table, ...] = ()
    if notes:
        live = {int(n): Taken(*look) for n, look in notes["live"]["looks"].items()}
        plain = Taken(*notes["plain_bcc"]["look"])
        tables += [_growth(f"live, on {KERNEL} in a guest", live)]
        quoted = (_beside(live, plain),)
        ready += [
            ("live, probes compiled before", _seconds([notes["live"]["cached"]])),
            ("live, shipped probes (`hvoscope compile`)", _seconds([notes["live"]["shipped"]])),
            ("live, probes to compile", _seconds([notes["live"]["cold"]])),
            ("plain BCC tool", _seconds([notes["plain_bcc"]["ready"]])),
        ]
        ratios["footprint.live_rss_over_plain_bcc"] = Ratio(
            live[max(live)].rss_kib / plain.rss_kib,
            about="RSS, live daemon after its scrapes over a plain BCC tool",
        )
        ratios["footprint.shipped_start_over_plain_bcc"] = Ratio(
            notes["live"]["shipped"] / notes["plain_bcc"]["ready"],
            goal=1.0,
            about="start to ready, daemon with shipped probes over a plain BCC tool",
        )
        ratios["footprint.live_growth"] = Ratio(
            live[max(live)].rss_kib / live[min(n for n in live if n)].rss_kib,
            about="RSS after the last scrapes over that after the first 100, live",
        )
    tables += [*quoted, table("Start to ready", ("what", "time"), ready, READY_NOTE), *more]
    return Section("Footprint", ABOUT, BOUNDS, tuple(tables), ratios, quoted)


def _growth(where: str, looks: Looks) -> Table:
    rows = [
        (f"{count:,}", _mib(look.rss_kib), look.threads, look.descriptors)
        for count, look in looks.items()
    ]
    return table(f"The daemon, {where}", ("scrapes before", "RSS", "threads", "descriptors"), rows)


def _beside(live: Looks, plain: Taken) -> Table:
    most = max(live)
    rows = [
        ("`hvoscope serve`, just ready", _mib(live[0].rss_kib), *live[0][1:]),
        (f"`hvoscope serve`, after {most:,} scrapes", _mib(live[most].rss_kib), *live[most][1:]),
        ("a plain BCC tool, just ready", _mib(plain.rss_kib), *plain[1:]),
    ]
    return table("Memory while probes are attached", ("", "RSS", "threads", "descriptors"), rows)


def _stalled(each: Mapping[str, tuple[Taken, Taken]]) -> Table:
    rows = [
        (stall, _mib(alone.rss_kib), _mib(beset.rss_kib), figure([kib], "KiB"), beset.threads)
        for stall, (alone, beset) in each.items()
        for kib in [(beset.rss_kib - alone.rss_kib) / STALLED]
    ]
    return table(
        f"{STALLED} stalled clients with TLS, simulated, on this machine",
        ("each stalls", "RSS before", "RSS with them", "each takes", "threads"),
        rows,
    )


def _sizes(folder: Path) -> Table:
    rows: list[tuple[str, Figure | None]] = [
        ("hvoscope and its Python packages, in a venv", _mib(_venv_kib(folder))),
        ("Debian's BCC with its compiler, which the loader uses", _packages(BCC_PACKAGES)),
        *((name, _packages((name,))) for name in OTHER_PACKAGES),
    ]
    return table("On disk", ("what", "size"), rows)


def _venv_kib(folder: Path) -> float:
    """A fresh venv with hvoscope, less the same without it."""
    environment = folder / "venv"
    venv.create(environment, with_pip=True)
    empty = _folder_kib(environment)
    pip = [str(environment / "bin" / "pip"), "install", "-q", "--no-compile", str(ROOT)]
    subprocess.run(pip, check=True, capture_output=True)
    return _folder_kib(environment) - empty


def _folder_kib(folder: Path) -> float:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file()) / 1024


def _packages(names: tuple[str, ...]) -> Figure | None:
    """Installed size; None where one of them is not installed."""
    command = ["dpkg-query", "-W", "-f", "${Installed-Size}\\n", *names]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return None
    return _mib(sum(int(size) for size in done.stdout.split()))


def _mib(kib: float) -> Figure:
    return figure([kib / 1024], "MiB")


def _seconds(values: Any) -> Figure:
    return figure(values, "s")


READY_NOTE = "In the guest everything is emulated: compare its rows with each other."
ABOUT = (
    f"`hvoscope serve` simulated on this machine and live on {KERNEL} in a guest, where a plain BCC"
    " tool (a kprobe on every PTE and a perf buffer) runs beside it; scrapes on one connection."
)
BOUNDS = (
    "Python itself and prometheus_client; compiler and BCC are in the loader, which is gone when"
    " the daemon is ready. What the first thousand scrapes add is mostly the interpreter's table"
    " of interned strings, which then stays. A start is Python's imports and, of probes not"
    " compiled before, clang."
)

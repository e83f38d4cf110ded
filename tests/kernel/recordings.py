# SPDX-License-Identifier: Apache-2.0
"""Boot a test kernel, record what is done to its pools, and make a golden trace of it.

``python -m tests.kernel.recordings --out FOLDER --kind KIND [KERNEL ...]`` records the traces in
tests/data/traces again.
"""

import json
import shlex
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from tests import golden
from tests.guests import kernel_matrix, tools
from tests.guests.debian import Image, Newest
from tests.guests.fail_frames import with_fail_frames
from tests.guests.kernels import Kernel
from tests.guests.precompiled import with_programs
from tests.guests.qemu import run_in_guest
from tests.kernel.expected import EXPECTED
from tests.kernel.recorded import CPU, OPERATIONS, RECORDING
from tests.kernel.test_counts import MEMORY_MIB
from tests.simulated import Setup

GUEST_TIMEOUT_S = 1500


@dataclass(frozen=True)
class Kind:
    """What is done while a recording is made."""

    program: str
    """Runs in the guest."""
    operations: tuple[str, ...]
    append: str = ""
    hugepages: tuple[str, ...] = ()
    """Of the command line, where HVO then is on."""

    @property
    def command_line(self) -> str:
        """Boot parameters."""
        pages = (one.split() for one in self.hugepages)
        return " ".join(
            (self.append, *(f"hugepagesz={size[:-1]} hugepages={n}" for size, n in pages))
        )


KINDS = {
    "pools": Kind("tests.kernel.recorded", OPERATIONS),
    "rare": Kind(
        "tests.kernel.traced",
        (
            # What is optimised since boot is given back.
            *("shrink 2MB 23", "shrink 1GB 1", "demote 1GB 1", "shrink 2MB 509"),
            # Of three pages two are reserved: one goes, two are surplus for as long.
            *("reserve 2MB 2", "shrink 2MB 3", "unreserve 2MB 2"),
            *("grow 2MB 5", "reserve 2MB 7", "unreserve 2MB 7"),
            *("dissolve 2MB 1", "shrink 2MB 4"),
        ),
        append="hugetlb_free_vmemmap=on",
        hugepages=("1GB 2", "2MB 23"),
    ),
    "short": Kind(
        "tests.kernel.traced",
        (
            "hvo on",
            # Three of the eight tables for the vmemmap of 1 GB, and then none: all is undone. The
            # page stays, so that what follows is memory whose vmemmap was never split.
            *("fail 3 1", "grow 1GB 1", "fail 0 2", "grow 2MB 5"),
            # In the middle of the frames of one page: it is surplus, the others go.
            *("fail 10 1", "shrink 2MB 5", "grow 2MB 3", "shrink 2MB 3"),
            *("shrink 1GB 1", "grow 1GB 1", "fail 4000 1", "shrink 1GB 1", "grow 1GB 1"),
            *("fail 4000 1", "demote 1GB 1", "demote 1GB 1"),
            *("fail 20 2", "shrink 2MB 512", "grow 2MB 2", "shrink 2MB 2"),
        ),
    ),
}
"""``pools`` is what an operator does, ``rare`` what else happens, and in ``short`` memory ends."""

STORED = {
    "pools": (
        *("v17", "patched", "debian-6.1", "debian-6.12-113", "debian-6.12", "debian-6.16"),
        *("debian-6.17", "debian-6.18", "debian-6.19", "debian-7.0", "debian-7.1", "debian-sid"),
        "debian-newest",
    ),
    "rare": ("debian-6.1", "debian-6.12-113", "debian-6.16", "debian-newest"),
    "short": ("patched", "debian-6.1", "debian-6.12-113", "debian-newest"),
}
"""Test kernels that have a golden trace."""

RECORDED = STORED["pools"]

_INSTEAD = {
    # Their configurations lack CONFIG_MEMORY_FAILURE.
    "debian-6.1": {"dissolve 2MB 1": "shrink 2MB 1"},
    "patched": {"dissolve 2MB 1": "shrink 2MB 1"},
    # First all is split, as far as there is memory; then comes a head, and the rest is split.
    "debian-6.12-113": {"fail 3 1": "fail 3 1 1 1"},
    # There is a frame for tails, too.
    "debian-newest": {"fail 3 1": "fail 3 1 2 1"},
}
"""What a test kernel does in place of what it can't."""


_GENERATIONS = {
    # Its source is 6.1's, whose vmemmap is mapped by huge pages; so is 5.14's, and never v17's.
    ("patched", "short"): "5.14"
}
"""Of the simulator, where a kind of trace wants another than ``EXPECTED`` says."""


@dataclass(frozen=True)
class Recorded:
    """What a guest left."""

    kernel_name: str
    notes: dict[str, Any]
    recording: Path
    kind: str = "pools"

    @property
    def trace_name(self) -> str:
        """Of its golden trace."""
        return self.kernel_name if self.kind == "pools" else f"{self.kernel_name}-{self.kind}"

    @property
    def setup(self) -> Setup:
        """What the simulator must be told to do the same."""
        kind, memmap = KINDS[self.kind], [s["kernel"]["memmap_pages"] for s in self.notes["steps"]]
        return Setup(
            generation=generation_of(self.kernel_name, self.kind),
            operations=tuple(step["op"] for step in self.notes["steps"][1:]),
            memory_per_node=MEMORY_MIB // 2 << 20,
            # A kernel without a restore has no switch.
            hvo=not EXPECTED[self.kernel_name].restore or "hugetlb_free_vmemmap" in kind.append,
            cpu=CPU,
            held_nodes=tuple(range(self._node_of_1gb())),
            hugepages=kind.hugepages,
            memmap_pages=tuple(memmap) if memmap[0] is not None else (),
        )

    def step(self, operation: str) -> dict[str, Any]:
        """Notes after the first operation of this text; of none, how it all began."""
        found: dict[str, Any] = next(s for s in self.notes["steps"] if s["op"] == operation)
        return found

    def _node_of_1gb(self) -> int:
        """Nodes below it have no free GB in one piece: the kernel asks them in order."""
        if "grow 1GB 1" not in KINDS[self.kind].operations:
            return 0
        pools = self.step("grow 1GB 1")["kernel"]["pools"]
        return next(n for n in range(len(pools)) if pools.get(f"node{n} hugepages-1048576kB"))


def generation_of(kernel_name: str, kind: str) -> str:
    """What the simulator calls a test kernel."""
    return _GENERATIONS.get((kernel_name, kind), EXPECTED[kernel_name].generation)


def operations_of(kernel_name: str, kind: str = "pools") -> tuple[str, ...]:
    """What is done on a test kernel."""
    instead = _INSTEAD.get(kernel_name, {})
    done = EXPECTED[kernel_name].done(KINDS[kind].operations)
    return tuple(instead.get(text, text) for text in done)


def record(kernel_name: str, kernel: Kernel, out: Path, kind: str = "pools") -> Recorded:
    """Boot ``kernel`` and let the guest do its work; its files are in ``out``."""
    program, append = KINDS[kind].program, KINDS[kind].command_line
    kernel = with_programs(kernel)
    if kind == "short" and isinstance(kernel_matrix.KERNELS[kernel_name].source, Image | Newest):
        kernel = with_fail_frames(kernel)  # what is built here has fault injection
    run = run_in_guest(
        replace(kernel, append=f"{kernel.append} {append}"),
        (sys.executable, "-m", program, str(out), *operations_of(kernel_name, kind)),
        out=out,
        memory_mib=MEMORY_MIB,
        timeout_s=GUEST_TIMEOUT_S,
    )
    assert run.exit_code == 0, run.stderr
    notes = json.loads((out / "recorded.json").read_text())
    return Recorded(kernel_name, notes, out / RECORDING, kind)


def store(recorded: Recorded, folder: Path = golden.TRACES) -> Path:
    """Make the golden trace of a recording."""
    path = folder / f"{recorded.trace_name}.hvot"
    words = ("python", "-m", "tests.kernel.recordings", "--kind", recorded.kind)
    golden.store(
        recorded.recording, path, recorded.setup, shlex.join((*words, recorded.kernel_name))
    )
    return path


@click.command(help=__doc__)
@click.argument("names", metavar="[KERNEL]...", nargs=-1, type=click.Choice(list(EXPECTED)))
@click.option("--kind", type=click.Choice(list(KINDS)), default="pools", show_default=True)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Where what the guests write is kept.",
)
def main(names: tuple[str, ...], kind: str, out: Path) -> None:
    """Record test kernels again, one after the other."""
    tools.require("bcc")
    for name in names or STORED[kind]:
        recorded = record(name, kernel_matrix.provide(name), out / f"{name}-{kind}", kind)
        path = store(recorded)
        click.echo(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()

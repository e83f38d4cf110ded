# SPDX-License-Identifier: Apache-2.0
"""Boot a test kernel, run ``tests.kernel.recorded`` in it, and make a golden trace of its output.

``python -m tests.kernel.recordings [KERNEL ...]`` records the traces in tests/data/traces again.
"""

import json
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from tests import golden
from tests.guests import kernel_matrix, tools
from tests.guests.kernels import Kernel
from tests.guests.precompiled import with_programs
from tests.guests.qemu import run_in_guest
from tests.kernel.expected import EXPECTED
from tests.kernel.recorded import CPU, OPERATIONS, RECORDING
from tests.kernel.test_counts import MEMORY_MIB

GUEST_TIMEOUT_S = 1500

RECORDED = ("v17", "patched", "debian-6.1", "debian-6.12", "debian-sid")
"""Test kernels that have a golden trace."""

NOT_SIMULATED = {
    # This kernel restores a 1 GB page with its head's flag copied to the 512 parts, takes 511 of
    # them for optimised already, and later restores what never was. The simulator's 6.12.114 does
    # the same by the source; a recording with these operations would prove it.
    "debian-6.12": ("demote 1GB 1", "shrink 2MB 512"),
}
"""Operations that a test kernel leaves out of its trace."""


@dataclass(frozen=True)
class Recorded:
    """What a guest left."""

    kernel_name: str
    notes: dict[str, Any]
    recording: Path

    @property
    def setup(self) -> golden.Setup:
        """What the simulator must be told to do the same."""
        return golden.Setup(
            generation=EXPECTED[self.kernel_name].generation,
            operations=tuple(step["op"] for step in self.notes["steps"][1:]),
            memory_per_node=MEMORY_MIB // 2 << 20,
            hvo=not EXPECTED[self.kernel_name].restore,  # a kernel without a restore has no switch
            cpu=CPU,
            held_nodes=tuple(range(self._node_of_1gb())),
            memmap_pages=tuple(step["kernel"]["memmap_pages"] for step in self.notes["steps"])
            if self.notes["steps"][0]["kernel"]["memmap_pages"] is not None
            else (),
        )

    def step(self, operation: str) -> dict[str, Any]:
        """Notes after the first operation of this text; of none, how it all began."""
        found: dict[str, Any] = next(s for s in self.notes["steps"] if s["op"] == operation)
        return found

    def _node_of_1gb(self) -> int:
        """Nodes below it have no free GB in one piece: the kernel asks them in order."""
        pools = self.step("grow 1GB 1")["kernel"]["pools"]
        return next(n for n in range(len(pools)) if pools.get(f"node{n} hugepages-1048576kB"))


def operations_of(kernel_name: str) -> tuple[str, ...]:
    """What is done on a test kernel."""
    left_out = NOT_SIMULATED.get(kernel_name, ())
    done = EXPECTED[kernel_name].done(OPERATIONS)
    return tuple(operation for operation in done if operation not in left_out)


def record(kernel_name: str, kernel: Kernel, out: Path) -> Recorded:
    """Boot ``kernel`` and let the guest do its work; its files are in ``out``."""
    run = run_in_guest(
        with_programs(kernel),
        (sys.executable, "-m", "tests.kernel.recorded", str(out), *operations_of(kernel_name)),
        out=out,
        memory_mib=MEMORY_MIB,
        timeout_s=GUEST_TIMEOUT_S,
    )
    assert run.exit_code == 0, run.stderr
    return Recorded(kernel_name, json.loads((out / "recorded.json").read_text()), out / RECORDING)


def store(recorded: Recorded, folder: Path = golden.TRACES) -> Path:
    """Make the golden trace of a recording."""
    path = folder / f"{recorded.kernel_name}.hvot"
    command = shlex.join(("python", "-m", "tests.kernel.recordings", recorded.kernel_name))
    golden.store(recorded.recording, path, recorded.setup, command)
    return path


@click.command(help=__doc__)
@click.argument("names", metavar="[KERNEL]...", nargs=-1, type=click.Choice(RECORDED))
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Where what the guests write is kept.",
)
def main(names: tuple[str, ...], out: Path) -> None:
    """Record test kernels again, one after the other."""
    tools.require("bcc")
    for name in names or RECORDED:
        path = store(record(name, kernel_matrix.provide(name), out / name))
        click.echo(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()

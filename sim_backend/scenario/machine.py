# SPDX-License-Identifier: Apache-2.0
"""The machine of a scenario file, and of anybody who asks for one by architecture."""

from dataclasses import dataclass

from probes.geometry import ARCHITECTURES, GIB, KIB, Geometry, parse_size, size_label
from probes.operations import Operation, parse_operation
from sim_backend.kernel.errors import OperationError
from sim_backend.kernel.generation import NEWEST
from sim_backend.kernel.release import find_generation
from sim_backend.kernel.sim_kernel import MEMORY_BLOCK, SimKernel
from sim_backend.scenario.toml_table import Table

LARGEST = 4096 * GIB
"""Most memory of a machine, in bytes: booting it takes seconds."""

_KERNEL, _ARCHITECTURE, _PAGE_SIZE, _MEMORY = NEWEST, "x86-64", 4 * KIB, 16 * GIB


def huge_page_sizes(architecture: str, page_size: int) -> tuple[int, ...]:
    """Sizes in bytes that patch v17's table has; ``ValueError`` names those that there are."""
    table = ARCHITECTURES.get(architecture)
    if table is None:
        raise ValueError(f"no architecture {architecture!r} (there are {', '.join(ARCHITECTURES)})")
    if page_size not in table:
        pages = ", ".join(map(size_label, table))
        raise ValueError(f"{architecture} has no {size_label(page_size)} pages (it has {pages})")
    return table[page_size]


@dataclass(frozen=True)
class MachineSpec:
    """What a machine is like; sizes are bytes."""

    kernel: str
    page_size: int
    sizes: tuple[int, ...]
    """Huge page sizes that have a pool."""
    nodes: int
    cpus_per_node: int
    memory_per_node: int
    hvo: bool
    """The switch on the kernel's command line."""
    boot: tuple[Operation, ...]
    """Done before anybody watches."""
    where: str
    """File and line of ``boot``."""

    @property
    def memory(self) -> int:
        """Bytes of the whole machine."""
        return self.nodes * self.memory_per_node

    def boot_up(self, kernel: str, seed: int) -> SimKernel:
        """Make it, with a kernel of this generation; raises ``ValueError``."""
        machine = SimKernel(
            kernel,
            geometry=Geometry(self.page_size),
            huge_page_sizes=self.sizes,
            nodes=self.nodes,
            memory_per_node=self.memory_per_node,
            cpus_per_node=self.cpus_per_node,
            seed=seed,
            hvo=self.hvo,
        )
        for operation in self.boot:
            try:
                machine.operate(operation)
            except OperationError as error:
                raise OperationError(f"{self.where}: {error}") from None
        return machine


def read_machine(table: Table) -> MachineSpec:
    """Read the table ``[machine]``; every key has a default. Raises ``TomlError``."""
    architecture = table.text("arch", _architecture, _ARCHITECTURE)
    page_size = table.text("page-size", parse_size, _PAGE_SIZE)
    try:
        known = huge_page_sizes(architecture, page_size)
    except ValueError as error:
        raise table.error("page-size", str(error)) from None

    def size(text: str) -> int:
        if parse_size(text) not in known:
            raise ValueError(
                f"{architecture} with {size_label(page_size)} pages has no huge pages of {text} "
                f"(it has {', '.join(map(size_label, known))})"
            )
        return parse_size(text)

    spec = MachineSpec(
        kernel=table.text("kernel", lambda text: find_generation(text).name, _KERNEL),
        page_size=page_size,
        sizes=table.texts("sizes", size) or known,
        nodes=table.number("nodes", 1, 1, most=64),
        cpus_per_node=table.number("cpus-per-node", 1, 2, most=1024),
        memory_per_node=table.text("memory-per-node", _memory, _MEMORY),
        hvo=table.flag("hvo", True),
        boot=table.texts("boot", parse_operation),
        where=table.where("boot"),
    )
    table.end()
    if len(set(spec.sizes)) != len(spec.sizes):
        raise table.error("sizes", "a size is there twice")
    if spec.memory > LARGEST:
        problem = f"simulated machines end at {size_label(LARGEST)}, all nodes together"
        raise table.error("memory-per-node", problem)
    return spec


def _memory(text: str) -> int:
    memory = parse_size(text)
    if memory % MEMORY_BLOCK:
        raise ValueError(f"memory comes in blocks of {size_label(MEMORY_BLOCK)}, not as {text}")
    return memory


def _architecture(text: str) -> str:
    if text not in ARCHITECTURES:
        raise ValueError(f"no architecture {text!r} (there are {', '.join(ARCHITECTURES)})")
    return text

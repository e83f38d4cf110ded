# SPDX-License-Identifier: Apache-2.0
"""What several checks ask of the machine, read once and only when asked for."""

import gzip
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from probes.geometry import is_power_of_two
from probes.host import Host, read_text
from probes.live import plan
from probes.live.bcc_import import DISTRO_PACKAGES
from probes.live.btf import Btf
from probes.live.symbols import read_symbols

BOOT_PARAMETER = "hugetlb_free_vmemmap"
"""Its name never changed, unlike that of the sysctl, the option and every function."""

_DEFAULT_ON = frozenset(
    {
        "CONFIG_HUGETLB_PAGE_FREE_VMEMMAP_DEFAULT_ON",  # Linux 5.14
        "CONFIG_HUGETLB_PAGE_OPTIMIZE_VMEMMAP_DEFAULT_ON",  # Linux 5.19
    }
)


class Config(NamedTuple):
    """A kernel's configuration: where it was read, and the options built in."""

    path: Path
    options: Collection[str]


@dataclass(frozen=True)
class Facts:
    """One machine under examination."""

    host: Host
    distro_packages: Path = DISTRO_PACKAGES
    cache: Path | None = None
    """Folder of programs that were compiled before."""

    @cached_property
    def symbols(self) -> Mapping[str, int] | OSError:
        """The kernel's symbols, or why they can't be read."""
        try:
            return read_symbols(self.host.proc / "kallsyms")
        except OSError as error:
            return error

    @property
    def known_symbols(self) -> Mapping[str, int]:
        """The kernel's symbols; none where they can't be read."""
        return {} if isinstance(self.symbols, OSError) else self.symbols

    @property
    def has_hvo(self) -> bool:
        """Whether the kernel has the optimisation under any name that hvoscope knows."""
        return plan.has_hvo(self.known_symbols)

    @property
    def is_before_sysctl(self) -> bool:
        """Whether this is HVO as of Linux 5.14 to 5.18, with no switch but the boot parameter."""
        return "free_huge_page_vmemmap" in self.known_symbols and self.sysctl is None

    @cached_property
    def sysctl(self) -> str | None:
        """The switch as the kernel has it now; None where it shows none."""
        return read_text(self.host.proc / "sys/vm/hugetlb_optimize_vmemmap")

    @property
    def config_paths(self) -> tuple[Path, ...]:
        """Where a kernel's configuration may be, most trustworthy first."""
        host = self.host
        return (
            host.proc / "config.gz",
            host.boot / f"config-{host.release}",
            host.modules / host.release / "config",  # Fedora
        )

    @cached_property
    def config(self) -> Config | None:
        """The kernel's configuration, from the first place that has it."""
        for path in self.config_paths:
            if text := _read_config(path):
                lines = (line.partition("=") for line in text.splitlines())
                return Config(path, frozenset(name for name, _, value in lines if value == "y"))
        return None

    @cached_property
    def boot_parameter(self) -> str | None:
        """What ``hugetlb_free_vmemmap=`` was given; the kernel takes the last. None: not given."""
        given = None
        for word in (read_text(self.host.proc / "cmdline") or "").split():
            name, _, value = word.partition("=")
            if name == BOOT_PARAMETER:
                given = value
        return given

    @property
    def on_from_boot(self) -> bool | None:
        """Whether the kernel started with HVO on, before any sysctl; None where nothing tells."""
        if self.boot_parameter is None:
            return None if self.config is None else not _DEFAULT_ON.isdisjoint(self.config.options)
        if self.is_before_sysctl:
            return {"on": True, "off": False}.get(self.boot_parameter)
        return _parse_bool(self.boot_parameter)

    @cached_property
    def btf(self) -> Btf | OSError | ValueError:
        """The kernel's description of its structs, or why it can't be read."""
        try:
            return Btf.read(self.host.sys / "kernel/btf/vmlinux")
        except (OSError, ValueError) as error:
            return error

    @property
    def struct_page_size(self) -> int | OSError | ValueError | KeyError:
        """sizeof(struct page) in bytes, or why BTF does not tell."""
        if not isinstance(self.btf, Btf):
            return self.btf
        try:
            return self.btf.size("page")
        except KeyError as error:
            return error

    @property
    def may_leave_heads(self) -> bool:
        """Whether heads of huge pages may stay in struct pages that were restored.

        So it is where a walk has the shared page that it is given (vmemmap_head, Linux 7.1), which
        sets nothing right, and that page is not yet one of tails only (vmemmap_tails of struct
        zone, 7.1): Debian's 6.12.118.
        """
        btf = self.btf
        if not isinstance(btf, Btf):
            return False
        given = btf.has("vmemmap_remap_walk", "vmemmap_head")
        return given and not btf.has("zone", "vmemmap_tails")

    @property
    def can_optimise(self) -> bool:
        """False where HVO is there and this kernel's struct page keeps it from ever working."""
        size = self.struct_page_size
        return self.has_hvo and not (isinstance(size, int) and not is_power_of_two(size))


def _parse_bool(text: str) -> bool | None:
    """Read a boot parameter as the kernel does (lib/kstrtox.c, kstrtobool); None: no boolean."""
    head = text[:2].lower()
    if head == "on" or head[:1] in ("y", "t", "1"):
        return True
    return False if head == "of" or head[:1] in ("n", "f", "0") else None


def _read_config(path: Path) -> str | None:
    if path.suffix != ".gz":
        return read_text(path)
    try:
        return gzip.decompress(path.read_bytes()).decode("ascii", "replace")
    except (OSError, EOFError, zlib.error):
        return None

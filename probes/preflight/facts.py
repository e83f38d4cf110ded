# SPDX-License-Identifier: Apache-2.0
"""What several checks ask of the machine, read once and only when asked for."""

import contextlib
import gzip
import os
import re
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from probes.geometry import is_power_of_two
from probes.kernel import hooks
from probes.kernel.btf import Btf
from probes.kernel.host import Host, is_missing, read_or_error, read_text
from probes.kernel.kallsyms import has_trampolines, read_symbols
from probes.preflight import trial
from probes.preflight.command_line import is_new_bool, parse_bool, values_of
from probes.preflight.trial import Trial

BOOT_PARAMETER = "hugetlb_free_vmemmap"
"""Its name never changed, unlike that of the sysctl, the option and every function."""

# include/uapi/linux/capability.h
CAP_SYS_MODULE, CAP_SYS_ADMIN, CAP_PERFMON, CAP_BPF = 16, 21, 38, 39

_DEFAULT_ON = frozenset(
    {
        "CONFIG_HUGETLB_PAGE_FREE_VMEMMAP_DEFAULT_ON",  # Linux 5.14
        "CONFIG_HUGETLB_PAGE_OPTIMIZE_VMEMMAP_DEFAULT_ON",  # Linux 5.19
    }
)

# The boot parameter has three forms (mm/hugetlb_vmemmap.c). Linux 5.14 to 5.18: an early parameter
# that takes nothing but these. 6.0 to 6.14: a core_param of type bool, for which no value is true.
# 5.19, and from 6.15 on: an early parameter that kstrtobool reads, to which no value is an error.
_BEFORE_SYSCTL = frozenset({"on", "off"})
_EARLY_PARAMETER = frozenset(
    {
        "hugetlb_vmemmap_early_param",  # Linux 5.19
        "hugetlb_vmemmap_optimize_param",  # Linux 6.15
    }
)

_DIRECT_CALLS = "CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS"
_BOOT_ID = "sys/kernel/random/boot_id"

_UNSAFE_ON_ARM64 = frozenset(
    {
        "hugetlb_vmemmap_free",  # Linux 5.19
        "hugetlb_vmemmap_optimize",  # Linux 6.0 to 6.6
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
    distro_packages: Path | None = None
    """The distribution's Python packages; None: wherever distributions put them."""
    cache: Path | None = None
    """Folder of programs that were compiled before."""
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    """Of the process that will compile."""
    try_load: Trial | None = None
    """Loads a trial program; None: the running kernel's, if it is the one under examination."""

    @cached_property
    def symbols(self) -> Mapping[str, int] | OSError:
        """The kernel's symbols, or why they can't be read."""
        try:
            return read_symbols(self.host.proc / "kallsyms")
        except OSError as error:
            return error

    @property
    def known_btf(self) -> Btf | None:
        """The kernel's description of itself; None where it can't be read."""
        return self.btf if isinstance(self.btf, Btf) else None

    @property
    def known_symbols(self) -> Mapping[str, int]:
        """The kernel's symbols; none where they can't be read."""
        return {} if isinstance(self.symbols, OSError) else self.symbols

    @property
    def has_hvo(self) -> bool:
        """Whether the kernel has the optimisation, by its functions or by its sysctl.

        A symbol table that is hidden says nothing; the sysctl alone is proof.
        """
        return hooks.has_hvo(self.known_symbols) or self.shows_switch

    @property
    def gives_live_ptes_frames(self) -> bool | None:
        """Whether this HVO remaps PTEs in a way that this architecture forbids; None: not known.

        arm64's of Linux 5.19 to 6.2, told by their functions: whatever has those of 6.7 there was
        enabled again. s390's is of 6.3 to 6.17; nothing tells a later one from it.
        """
        if self.host.machine == "s390x":
            return True
        if self.host.machine != "aarch64":
            return False
        if isinstance(self.symbols, OSError):
            return None
        return not _UNSAFE_ON_ARM64.isdisjoint(self.symbols)

    @property
    def is_before_sysctl(self) -> bool:
        """Whether this is HVO as of Linux 5.14 to 5.18, with no switch but the boot parameter."""
        return "free_huge_page_vmemmap" in self.known_symbols and self.sysctl is None

    @cached_property
    def sysctl(self) -> str | None:
        """The switch as the kernel has it now; None where it shows none."""
        return read_text(self.sysctl_path)

    @property
    def sysctl_path(self) -> Path:
        """Where the switch is (Linux 5.19 and later)."""
        return self.host.proc / "sys/vm/hugetlb_optimize_vmemmap"

    @property
    def shows_switch(self) -> bool:
        """Whether there is such a file for all that this process may see, readable or not."""
        try:
            self.sysctl_path.stat()
        except OSError:
            return False
        return True

    @property
    def is_sysctl_missing(self) -> bool:
        """Whether there is no such file; one that can't be read may well be there."""
        return is_missing(read_or_error(self.sysctl_path))

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
            text = _read_config(path)
            if isinstance(text, str) and text:
                lines = (line.partition("=") for line in text.splitlines())
                return Config(path, frozenset(name for name, _, value in lines if value == "y"))
        return None

    @property
    def unreadable_configs(self) -> tuple[str, ...]:
        """Configurations that are there and can't be read, with the reason."""
        tried = ((path, _read_config(path)) for path in self.config_paths)
        return tuple(
            f"{path} can't be read ({error_text(error)})"
            for path, error in tried
            if isinstance(error, Exception) and not is_missing(error)
        )

    @cached_property
    def capabilities(self) -> frozenset[int] | None:
        """Numbers of the effective capabilities of this process; None where they can't be read."""
        status = read_text(self.host.proc / "self/status") or ""
        found = re.search(r"^CapEff:\s*([0-9a-fA-F]+)$", status, re.MULTILINE)
        if not found:
            return None
        mask = int(found[1], 16)
        return frozenset(number for number in range(mask.bit_length()) if mask >> number & 1)

    @cached_property
    def boot_parameters(self) -> tuple[str | None, ...] | OSError:
        """What ``hugetlb_free_vmemmap`` was given, each time; None: no value. Or why not known."""
        text = read_or_error(self.host.proc / "cmdline")
        return text if isinstance(text, OSError) else values_of(text, BOOT_PARAMETER)

    @property
    def on_from_boot(self) -> bool | None:
        """Whether the kernel started with HVO on, before any sysctl; None where nothing tells."""
        if isinstance(self.boot_parameters, OSError):
            return None
        is_on = None if self.config is None else not _DEFAULT_ON.isdisjoint(self.config.options)
        for value in self.boot_parameters:
            if not self.ignores(value):
                is_on = self._meaning(value)
        return is_on

    def ignores(self, value: str | None) -> bool:
        """Whether the kernel takes no notice of this value of the boot parameter."""
        if self.is_before_sysctl:
            return value not in _BEFORE_SYSCTL
        if value is None:
            return not _EARLY_PARAMETER.isdisjoint(self.known_symbols)
        return parse_bool(value) is None and not is_new_bool(value)

    def _meaning(self, value: str | None) -> bool | None:
        """Of a value that is not ignored; None where it is not the same for all kernels."""
        if value is None:
            return None if isinstance(self.symbols, OSError) else True
        return parse_bool(value)

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

    @cached_property
    def fentry_functions(self) -> Mapping[str, int]:
        """Functions to hook that fentry can be attached to, with their BTF type ids.

        It takes BPF trampolines, BTF that describes the function, and ftrace's direct calls
        (kernel/bpf/trampoline.c, register_fentry).
        """
        if self.config and _DIRECT_CALLS not in self.config.options:
            return {}
        if not has_trampolines(self.known_symbols, self.host.machine):
            return {}
        if not isinstance(self.btf, Btf):
            return {}
        found = {}
        for name in self._hooked:
            with contextlib.suppress(KeyError):
                found[name] = self.btf.function_id(name)
        return found

    @property
    def does_without_kprobes(self) -> bool:
        """Whether fentry can be attached to every function to hook."""
        return bool(self._hooked) and self._hooked <= self.fentry_functions.keys()

    @property
    def _hooked(self) -> frozenset[str]:
        steps = hooks.make_plan(self.known_symbols)
        return frozenset(hook.symbol for step in steps for hook in step.hooks)

    @property
    def trial(self) -> Trial | None:
        """What loads a trial program into the kernel under examination; None: nothing does."""
        if self.try_load is not None:
            return self.try_load
        here = self._is_running_kernel and trial.can_load(self.host.machine)
        return trial.load if here else None

    @property
    def _is_running_kernel(self) -> bool:
        """Whether ``host`` is the kernel that runs this process, whatever its /proc is called."""
        proc = Path("/proc")
        if self.host.proc == proc:
            return True
        theirs = read_text(self.host.proc / _BOOT_ID)
        return theirs is not None and theirs == read_text(proc / _BOOT_ID)

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


def error_text(error: Exception) -> str:
    """What went wrong, in a few words and one line."""
    said = error.strerror if isinstance(error, OSError) else None
    return " ".join((said or str(error) or type(error).__name__).split())


def _read_config(path: Path) -> str | OSError | EOFError | zlib.error:
    """A configuration, or why it can't be read."""
    if path.suffix != ".gz":
        return read_or_error(path)
    try:
        return gzip.decompress(path.read_bytes()).decode("ascii", "replace")
    except (OSError, EOFError, zlib.error) as error:
        return error

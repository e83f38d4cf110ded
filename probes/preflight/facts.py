# SPDX-License-Identifier: Apache-2.0
"""Facts about the machine that several checks use; each is read once, on first use."""

import contextlib
import gzip
import os
import re
import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from mmap import PAGESIZE
from pathlib import Path
from typing import NamedTuple

from probes.bpf.program_cache import has_programs
from probes.census.census import PoolCensus, take_census
from probes.census.facts import CensusError, facts_of
from probes.geometry import is_power_of_two
from probes.kernel import hooks
from probes.kernel.btf import Btf
from probes.kernel.host import Host, is_missing, read_or_error, read_text
from probes.kernel.kallsyms import has_trampolines, read_symbols
from probes.kernel.kernel_bugs import RESTORE_LEAK, kernel_bugs
from probes.observation import Absent, known
from probes.preflight import trial
from probes.preflight.command_line import is_new_bool, parse_bool, values_of
from probes.preflight.trial import Trial

BOOT_PARAMETER = "hugetlb_free_vmemmap"
"""The boot parameter; its name is the same in all versions, unlike those of sysctl and option."""

# include/uapi/linux/capability.h
CAP_SYS_MODULE, CAP_SYS_ADMIN, CAP_PERFMON, CAP_BPF = 16, 21, 38, 39

_DEFAULT_ON = frozenset(
    {
        "CONFIG_HUGETLB_PAGE_FREE_VMEMMAP_DEFAULT_ON",  # Linux 5.14
        "CONFIG_HUGETLB_PAGE_OPTIMIZE_VMEMMAP_DEFAULT_ON",  # Linux 5.19
    }
)

# The boot parameter has three implementations (mm/hugetlb_vmemmap.c):
# - Linux 5.14 to 5.18: an early parameter that accepts only these two values;
# - 6.0 to 6.14: a core_param of type bool; without a value it means true;
# - 5.19, and since 6.15: an early parameter parsed by kstrtobool; without a value it is an error.
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
    """A kernel configuration: its path, and the options set to y."""

    path: Path
    options: Collection[str]


@dataclass(frozen=True)
class Facts:
    """Facts about one machine."""

    host: Host
    distro_packages: Path | None = None
    """Folder of the distribution's Python packages; None: the usual folders of distributions."""
    cache: Path | None = None
    """Folder of cached programs."""
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    """Environment of the process that will compile."""
    try_load: Trial | None = None
    """Loads a trial program; None: ``trial.load``, if ``host`` is the running kernel."""
    programs: Path | None = None
    """Folder of programs that were compiled elsewhere."""
    take: Callable[[], Sequence[PoolCensus]] | None = None
    """Takes a census; None: that of the running kernel, if ``host`` is it."""

    @cached_property
    def symbols(self) -> Mapping[str, int] | OSError:
        """The kernel's symbols, or the error."""
        try:
            return read_symbols(self.host.proc / "kallsyms")
        except OSError as error:
            return error

    def read_ahead(self) -> None:
        """Read now what takes long: the symbols and BTF."""
        _ = self.symbols, self.btf

    @property
    def known_btf(self) -> Btf | None:
        """The kernel's BTF; None if it can't be read."""
        return self.btf if isinstance(self.btf, Btf) else None

    @property
    def known_symbols(self) -> Mapping[str, int]:
        """The kernel's symbols; empty if they can't be read."""
        return {} if isinstance(self.symbols, OSError) else self.symbols

    @property
    def has_hvo(self) -> bool:
        """Whether the kernel has HVO, according to its functions or its sysctl.

        The sysctl alone is sufficient, because the symbol table may be hidden.
        """
        return hooks.has_hvo(self.known_symbols) or self.has_sysctl_file

    @property
    def remaps_live_ptes_unsafely(self) -> bool | None:
        """Whether HVO remaps live PTEs in a way that this architecture forbids; None: not known.

        On arm64, Linux 5.19 to 6.2, recognized by their functions; a kernel with the functions of
        6.7 must have enabled HVO again. On s390, Linux 6.3 to 6.17, which can't be distinguished
        from later ones.
        """
        if self.host.machine == "s390x":
            return True
        if self.host.machine != "aarch64":
            return False
        if isinstance(self.symbols, OSError):
            return None
        return not _UNSAFE_ON_ARM64.isdisjoint(self.symbols)

    @property
    def predates_sysctl(self) -> bool:
        """Whether this is HVO of Linux 5.14 to 5.18, whose only switch is the boot parameter."""
        return "free_huge_page_vmemmap" in self.known_symbols and self.sysctl is None

    @cached_property
    def sysctl(self) -> str | None:
        """Current value of the sysctl; None if it can't be read."""
        return read_text(self.sysctl_path)

    @property
    def sysctl_path(self) -> Path:
        """Path of the sysctl (Linux 5.19 and later)."""
        return self.host.proc / "sys/vm/hugetlb_optimize_vmemmap"

    @property
    def has_sysctl_file(self) -> bool:
        """Whether the sysctl file exists, readable or not."""
        try:
            self.sysctl_path.stat()
        except OSError:
            return False
        return True

    @property
    def is_sysctl_missing(self) -> bool:
        """Whether the sysctl file does not exist; False if it only can't be read."""
        return is_missing(read_or_error(self.sysctl_path))

    @property
    def config_paths(self) -> tuple[Path, ...]:
        """Paths of the kernel's configuration, most reliable first."""
        host = self.host
        return (
            host.proc / "config.gz",
            host.boot / f"config-{host.release}",
            host.modules / host.release / "config",  # Fedora
            # In the headers' package; Arch has no other besides /proc/config.gz.
            host.modules / host.release / "build/.config",
        )

    @cached_property
    def config(self) -> Config | None:
        """The kernel's configuration, from the first path that has one."""
        for path in self.config_paths:
            text = _read_config(path)
            if isinstance(text, str) and text:
                lines = (line.partition("=") for line in text.splitlines())
                return Config(path, frozenset(name for name, _, value in lines if value == "y"))
        return None

    @property
    def unreadable_configs(self) -> tuple[str, ...]:
        """Configurations that exist but can't be read, with the reason."""
        tried = ((path, _read_config(path)) for path in self.config_paths)
        return tuple(
            f"{path} can't be read ({error_text(error)})"
            for path, error in tried
            if isinstance(error, Exception) and not is_missing(error)
        )

    @cached_property
    def capabilities(self) -> frozenset[int] | None:
        """Effective capabilities of this process, as numbers; None if they can't be read."""
        status = read_text(self.host.proc / "self/status") or ""
        found = re.search(r"^CapEff:\s*([0-9a-fA-F]+)$", status, re.MULTILINE)
        if not found:
            return None
        mask = int(found[1], 16)
        return frozenset(number for number in range(mask.bit_length()) if mask >> number & 1)

    @cached_property
    def boot_parameters(self) -> tuple[str | None, ...] | OSError:
        """All values of ``hugetlb_free_vmemmap``; None means without a value. Or the error."""
        text = read_or_error(self.host.proc / "cmdline")
        return text if isinstance(text, OSError) else values_of(text, BOOT_PARAMETER)

    @property
    def enabled_at_boot(self) -> bool | None:
        """Whether the kernel booted with HVO on, before any sysctl; None if not known."""
        if isinstance(self.boot_parameters, OSError):
            return None
        is_on = None if self.config is None else not _DEFAULT_ON.isdisjoint(self.config.options)
        for value in self.boot_parameters:
            if not self.ignores(value):
                is_on = self._meaning(value)
        return is_on

    def ignores(self, value: str | None) -> bool:
        """Whether the kernel ignores this value of the boot parameter."""
        if self.predates_sysctl:
            return value not in _BEFORE_SYSCTL
        if value is None:
            return not _EARLY_PARAMETER.isdisjoint(self.known_symbols)
        return parse_bool(value) is None and not is_new_bool(value)

    def _meaning(self, value: str | None) -> bool | None:
        """Meaning of a value that is not ignored; None if it differs between kernels."""
        if value is None:
            return None if isinstance(self.symbols, OSError) else True
        return parse_bool(value)

    @cached_property
    def btf(self) -> Btf | OSError | ValueError:
        """The kernel's BTF, or the error."""
        try:
            return Btf.read(self.host.sys / "kernel/btf/vmlinux")
        except (OSError, ValueError) as error:
            return error

    @property
    def struct_page_size(self) -> int | OSError | ValueError | KeyError:
        """sizeof(struct page) in bytes, or the error."""
        if not isinstance(self.btf, Btf):
            return self.btf
        try:
            return self.btf.size("page")
        except KeyError as error:
            return error

    @cached_property
    def fentry_functions(self) -> Mapping[str, int]:
        """Functions to hook that support fentry, with their BTF type ids.

        fentry needs BPF trampolines, BTF that describes the function, and ftrace's direct calls
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
    def fentry_suffices(self) -> bool:
        """Whether every function to hook supports fentry."""
        return bool(self._hooked) and self._hooked <= self.fentry_functions.keys()

    @property
    def _hooked(self) -> frozenset[str]:
        steps = hooks.select_hooks(self.known_symbols)
        return frozenset(hook.symbol for step in steps for hook in step.hooks)

    @property
    def has_shipped_programs(self) -> bool:
        """Whether there are programs that were compiled elsewhere: for this kernel or another."""
        return self.programs is not None and has_programs(self.programs)

    @cached_property
    def census(self) -> Sequence[PoolCensus] | CensusError:
        """Optimized huge pages by size and node, or why there can be no census."""
        try:
            return self.take() if self.take else self._take_census()
        except CensusError as error:
            return error

    def _take_census(self) -> Sequence[PoolCensus]:
        if not self._is_running_kernel:
            raise CensusError("only the running kernel's memory can be read")
        if isinstance(self.symbols, OSError):
            raise CensusError(f"{self.symbols.filename} can't be read ({self.symbols.strerror})")
        return take_census(facts_of(self.known_btf, self.symbols), PAGESIZE)

    @property
    def trial(self) -> Trial | None:
        """Function that loads a trial program into the examined kernel; None if there is none."""
        if self.try_load is not None:
            return self.try_load
        here = self._is_running_kernel and trial.can_load(self.host.machine)
        return trial.load if here else None

    @property
    def _is_running_kernel(self) -> bool:
        """Whether ``host`` is the kernel that runs this process, even if its /proc is elsewhere."""
        proc = Path("/proc")
        if self.host.proc == proc:
            return True
        theirs = read_text(self.host.proc / _BOOT_ID)
        return theirs is not None and theirs == read_text(proc / _BOOT_ID)

    @property
    def may_leave_stale_heads(self) -> bool:
        """Whether restored struct pages may keep the contents of the huge page's head."""
        return RESTORE_LEAK in (known(self.kernel_bugs) or ())

    @property
    def kernel_bugs(self) -> tuple[str, ...] | Absent:
        """Names of the bugs of HVO that the kernel is recognized to have."""
        if isinstance(self.btf, Btf):
            return kernel_bugs(self.btf.has)
        return Absent(f"a bug is recognized by BTF, which can't be read ({error_text(self.btf)})")

    @property
    def can_optimize(self) -> bool:
        """Whether the kernel has HVO, and its struct page size does not disable it."""
        size = self.struct_page_size
        return self.has_hvo and not (isinstance(size, int) and not is_power_of_two(size))


def error_text(error: Exception) -> str:
    """Return the error's message in one line."""
    message = error.strerror if isinstance(error, OSError) else None
    return " ".join((message or str(error) or type(error).__name__).split())


def _read_config(path: Path) -> str | OSError | EOFError | zlib.error:
    """Read a configuration, or return the error."""
    if path.suffix != ".gz":
        return read_or_error(path)
    try:
        return gzip.decompress(path.read_bytes()).decode("ascii", "replace")
    except (OSError, EOFError, zlib.error) as error:
        return error

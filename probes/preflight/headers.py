# SPDX-License-Identifier: Apache-2.0
"""Kernel headers, looked for as BCC's compiler will: nothing else it takes, nothing less it needs.

Sources: ClangLoader::parse and get_kernel_path_info (src/cc/frontends/clang/loader.cc),
get_proc_kheaders beside it.
"""

from pathlib import Path

from probes.bpf.program_cache import has_programs
from probes.kernel.distribution import install_headers
from probes.kernel.host import is_missing, read_or_error
from probes.preflight.facts import CAP_SYS_MODULE, Facts, error_text
from probes.preflight.finding import Finding, Verdict

_NEEDED = "include/linux/kconfig.h"
"""What tells headers from a folder that an uninstalled package left behind."""


def headers(facts: Facts) -> Finding:
    """Whether there are kernel headers for BCC."""
    try:
        return _found(facts) or _none(facts)
    except OSError as error:
        what = f"{error.filename} can't be read ({error_text(error)})"
        return Finding("headers", Verdict.UNKNOWN, what)


def kernel_source(facts: Facts) -> Path:
    """The folder that BCC takes for the kernel's, there or not."""
    if (given := facts.environ.get("BCC_KERNEL_SOURCE")) is not None:
        return Path(given)
    folder = facts.host.modules / facts.host.release
    if _is_there(folder / "build") and _is_there(folder / "source"):  # Debian splits them
        return folder / "source"
    return folder / facts.environ.get("BCC_KERNEL_MODULES_SUFFIX", "build")


def _found(facts: Facts) -> Finding | None:
    """Headers, or the archive of them that BCC unpacks where there are none."""
    source = kernel_source(facts)
    if _is_there(source / _NEEDED):
        return Finding("headers", Verdict.OK, str(source))
    archive = facts.host.sys / "kernel/kheaders.tar.xz"
    if _is_there(archive):
        return Finding("headers", Verdict.OK, str(archive))
    unpacked = Path(facts.environ.get("TMPDIR", "/tmp")) / f"kheaders-{facts.host.release}"  # noqa: S108
    if _is_there(unpacked / _NEEDED) and unpacked.stat().st_uid == 0:
        return Finding("headers", Verdict.OK, f"{unpacked}, unpacked by BCC before")
    return _module(facts)


def _module(facts: Facts) -> Finding | None:
    """CONFIG_IKHEADERS=m: BCC runs ``modprobe kheaders`` by itself, if this process may."""
    depends = read_or_error(facts.host.modules / facts.host.release / "modules.dep")
    if isinstance(depends, OSError):
        if is_missing(depends):
            return None
        raise depends
    files = (line.partition(":")[0] for line in depends.splitlines())
    if not any(Path(name).name.partition(".")[0] == "kheaders" for name in files):
        return None
    if read_or_error(facts.host.proc / "sys/kernel/modules_disabled") == "1":
        return None
    if facts.capabilities is not None and CAP_SYS_MODULE in facts.capabilities:
        return Finding("headers", Verdict.OK, "in the module kheaders, which BCC loads")
    what = "in the module kheaders, which takes CAP_SYS_MODULE to load"
    return Finding("headers", Verdict.WARNING, what, "modprobe kheaders")


def _none(facts: Facts) -> Finding:
    source, release = kernel_source(facts), facts.host.release
    what = f"no kernel headers for {release}"
    fix = install_headers(release, facts.host.os_release)
    if "BCC_KERNEL_SOURCE" in facts.environ:
        what = f"no kernel headers: BCC_KERNEL_SOURCE={source} has no {_NEEDED}"
        fix = f"unset BCC_KERNEL_SOURCE, and {fix}"
    elif _is_there(source):
        what += f": {source} has no {_NEEDED}"
    if facts.cache is not None and has_programs(facts.cache):
        what += ": only probes compiled before can be attached"
        return Finding("headers", Verdict.WARNING, what, fix)
    return Finding("headers", Verdict.PROBLEM, what, fix)


def _is_there(path: Path) -> bool:
    """Whether there is such a file or folder. Raises ``OSError`` where that can't be told."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True

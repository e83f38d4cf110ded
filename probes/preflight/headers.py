# SPDX-License-Identifier: Apache-2.0
"""Check for kernel headers, with the same search rules as BCC's compiler.

Sources in bcc: ClangLoader::parse and get_kernel_path_info (src/cc/frontends/clang/loader.cc),
get_proc_kheaders (src/cc/frontends/clang/kbuild_helper.cc).
"""

from pathlib import Path

from probes.bpf.program_cache import has_programs
from probes.kernel.distribution import install_headers
from probes.kernel.host import is_missing, read_or_error
from probes.preflight.facts import CAP_SYS_MODULE, Facts, error_text
from probes.preflight.finding import Finding, Verdict

_NEEDED = "include/linux/kconfig.h"
"""Distinguishes headers from a folder that an uninstalled package left behind."""


def headers(facts: Facts) -> Finding:
    """Whether BCC can find kernel headers."""
    try:
        return _found(facts) or _none(facts)
    except OSError as error:
        what = f"{error.filename} can't be read ({error_text(error)})"
        return Finding("headers", Verdict.UNKNOWN, what)


def kernel_source(facts: Facts) -> Path:
    """Folder in which BCC looks for the kernel headers; it may not exist."""
    if (given := facts.environ.get("BCC_KERNEL_SOURCE")) is not None:
        return Path(given)
    folder = facts.host.modules / facts.host.release
    if _exists(folder / "build") and _exists(folder / "source"):  # Debian splits the headers
        return folder / "source"
    return folder / facts.environ.get("BCC_KERNEL_MODULES_SUFFIX", "build")


def _found(facts: Facts) -> Finding | None:
    """Find the headers, or the archive of them that BCC unpacks if there are none."""
    source = kernel_source(facts)
    if _exists(source / _NEEDED):
        return Finding("headers", Verdict.OK, str(source))
    archive = facts.host.sys / "kernel/kheaders.tar.xz"
    if _exists(archive):
        return Finding("headers", Verdict.OK, str(archive))
    unpacked = Path(facts.environ.get("TMPDIR", "/tmp")) / f"kheaders-{facts.host.release}"  # noqa: S108
    if _exists(unpacked / _NEEDED) and unpacked.stat().st_uid == 0:
        return Finding("headers", Verdict.OK, f"{unpacked}, unpacked earlier by BCC")
    return _module(facts)


def _module(facts: Facts) -> Finding | None:
    """Check for CONFIG_IKHEADERS=m: BCC runs ``modprobe kheaders`` if this process may."""
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
    what = "in the module kheaders, which needs CAP_SYS_MODULE to be loaded"
    return Finding("headers", Verdict.WARNING, what, "modprobe kheaders")


def _none(facts: Facts) -> Finding:
    source, release = kernel_source(facts), facts.host.release
    what = f"no kernel headers for {release}"
    fix = install_headers(release, facts.host.os_release)
    if "BCC_KERNEL_SOURCE" in facts.environ:
        what = f"no kernel headers: BCC_KERNEL_SOURCE={source} has no {_NEEDED}"
        fix = f"unset BCC_KERNEL_SOURCE, and {fix}"
    elif _exists(source):
        what += f": {source} has no {_NEEDED}"
    if facts.has_shipped_programs:
        what += f": only programs of {facts.programs} can be attached"
        return Finding("headers", Verdict.WARNING, what, fix)
    if facts.cache is not None and has_programs(facts.cache):
        what += ": only programs in the cache can be attached"
        return Finding("headers", Verdict.WARNING, what, fix)
    return Finding("headers", Verdict.PROBLEM, what, fix)


def _exists(path: Path) -> bool:
    """Whether the file or folder exists. Raises ``OSError`` if that can't be determined."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True

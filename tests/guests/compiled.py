# SPDX-License-Identifier: Apache-2.0
"""HVO's own objects, or a whole small kernel, compiled to see which symbols a compiler leaves."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from tests.guests import tools
from tests.guests.apt import Apt, Suite
from tests.guests.cache import Cache
from tests.guests.progress import CommandError, run, run_long

_OBJECTS = ("mm/hugetlb_vmemmap.o", "mm/hugetlb.o", "mm/sparse-vmemmap.o")
_CONFIG = Path(__file__).with_name("patched.config")
LTO_CONFIG = Path(__file__).with_name("compiled-lto.config")
_NEEDED = "CONFIG_HUGETLB_PAGE_OPTIMIZE_VMEMMAP=y"
_MAKE = ("ARCH=x86_64", "KBUILD_BUILD_USER=hvoscope", "KBUILD_BUILD_HOST=hvoscope")


@dataclass(frozen=True)
class Built:
    """What came of it."""

    release: str
    compiler: str
    symbols: list[str]


@dataclass(frozen=True)
class Build:
    """A source, a compiler and its flags."""

    suite: Suite
    package: str
    flags: str = ""
    """Added to the kernel's own."""
    llvm: str = ""
    """Version of clang and its tools; empty for gcc."""
    config: Path = _CONFIG
    whole: bool = False
    """Link vmlinux (only then is anything optimised over all files); otherwise HVO's objects."""

    @property
    def how(self) -> str:
        """In words for a reader who wants to do it by hand."""
        config = f"tinyconfig and tests/kernel/{self.config.name}"
        llvm = f" LLVM=-{self.llvm}" if self.llvm else ""
        flags = f' KCFLAGS="{self.flags}"' if self.flags else ""
        target = "vmlinux" if self.whole else " ".join(_OBJECTS)
        read = "System.map" if self.whole else "nm -n --defined-only, addresses within sections"
        return f"{config}, make{llvm}{flags} {target}, {read}"

    def make(self, work: Path) -> Built:
        """Compile below `work`, where the source may be already."""
        tools.require_all(tools.BUILD)
        compiler = self._compiler()  # before minutes of downloading for one that is not there
        source = self._source(work)
        out = work / f"{self.package}-{self.llvm or 'gcc'}{'-whole' if self.whole else ''}"
        make = ["make", "-C", str(source), f"O={out}", *_MAKE]
        make += [f"LLVM=-{self.llvm}"] if self.llvm else []
        self._configure(source, out, make)
        run_long(
            f"make {self.package}",
            [*make, f"-j{len(os.sched_getaffinity(0))}", *self._arguments()],
            cwd=source,
            log=out / "build.log",
            state=lambda: "compiling",
        )
        release = (out / "include/config/kernel.release").read_text().strip()
        return Built(release, compiler, self._symbols(out))

    def _arguments(self) -> list[str]:
        flags = [f"KCFLAGS={self.flags}"] if self.flags else []
        return [*flags, *(("vmlinux",) if self.whole else _OBJECTS)]

    def _source(self, work: Path) -> Path:
        unpacked = Cache(work).entry(self.package, self._fetch)
        (source,) = unpacked.glob("linux-source-*")
        return source

    def _fetch(self, into: Path) -> None:
        Apt(Cache(), self.suite).unpack([self.package], into)
        (archive,) = (into / "usr/src").glob("linux-source-*.tar.xz")
        run("tar", ["tar", "-C", str(into), "-xf", str(archive)])
        archive.unlink()

    def _configure(self, source: Path, out: Path, make: list[str]) -> None:
        out.mkdir(parents=True, exist_ok=True)
        merge = [str(source / "scripts/kconfig/merge_config.sh"), "-m", "-O", str(out)]
        for command in (
            [*make, "tinyconfig"],
            [*merge, str(out / ".config"), str(self.config)],
            [*make, "olddefconfig"],
        ):
            run(" ".join(command), command, cwd=out)
        if _NEEDED not in (out / ".config").read_text().splitlines():
            raise CommandError(f"{self.package}: the kernel does not take {_NEEDED}")

    def _compiler(self) -> str:
        name = f"clang-{self.llvm}" if self.llvm else "gcc"
        return run(name, [name, "--version"]).splitlines()[0]

    def _symbols(self, out: Path) -> list[str]:
        if self.whole:
            return (out / "System.map").read_text().splitlines()
        paths = [str(out / name) for name in _OBJECTS]
        return run("nm", ["nm", "-n", "--defined-only", *paths]).splitlines()

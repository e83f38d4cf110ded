# SPDX-License-Identifier: Apache-2.0
"""Symbol tables of real kernels, for tests without one (tests/data/kallsyms).

`python -m tests.guests.capture_symbols NAME > tests/data/kallsyms/NAME.txt`; `--list` shows the
names. A new table is a line in CAPTURES. Nothing is ever edited by hand in such a file.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.guests import kernel_matrix
from tests.guests.apt import Apt, Suite
from tests.guests.built import Recipe
from tests.guests.cache import Cache
from tests.guests.compiled import LTO_CONFIG, Build
from tests.guests.debian import Image
from tests.guests.kernel_matrix import BOOKWORM, SID, TRIXIE, TRIXIE_BACKPORTS
from tests.guests.kernels import Kernel
from tests.guests.progress import CommandError
from tests.guests.qemu import run_in_guest

WANTED = "vmemmap"
_HERE = "python -m tests.guests.capture_symbols"

_PLAIN = "cat /proc/kallsyms"
_HIDDEN = "sysctl -qw kernel.kptr_restrict=2; cat /proc/kallsyms"
_TRACED = "/usr/bin/python3 tests/kernel/programs/traced_symbols.py"


@dataclass(frozen=True)
class Captured:
    """A symbol table and where it comes from."""

    release: str
    origin: str
    compiler: str
    how: str
    lines: list[str]

    def text(self, name: str) -> str:
        """The file: one comment line, then the symbols."""
        facts = (self.release, self.origin, self.compiler, f"{_HERE} {name} ({self.how})")
        return "\n".join([f"# {'; '.join(facts)}", *self.lines, ""])


Capture = Callable[[Path], Captured]
"""Makes a table; may keep what it downloads and builds in the directory."""


def booted(name: str, shell: str = _PLAIN) -> Capture:
    """What /proc/kallsyms says in a guest of a test kernel."""

    def capture(_: Path) -> Captured:
        source = kernel_matrix.KERNELS[name].source
        assert isinstance(source, Image | Recipe)
        origin = f"test kernel {name}, {_origin(source.suite, source.package)}"
        return _boot(kernel_matrix.provide(name), origin, shell)

    return capture


def image(suite: Suite, flavour: str) -> Capture:
    """What /proc/kallsyms says in a guest with another of Debian's kernels."""

    def capture(work: Path) -> Captured:
        own = Image(suite, flavour=flavour)
        kernel = own.provide(f"{suite.name}-{flavour}", Cache(work), kernel_matrix.NO_ZEROING)
        return _boot(kernel, _origin(suite, own.package), _PLAIN)

    return capture


def build(made: Build) -> Capture:
    """What `nm` finds in objects compiled here."""

    def capture(work: Path) -> Captured:
        built = made.make(work)
        origin = f"own build of {_origin(made.suite, made.package)}"
        return Captured(built.release, origin, built.compiler, made.how, trimmed(built.symbols))

    return capture


def _origin(suite: Suite, package: str) -> str:
    return f"Debian {suite.name}, {package} {Apt(Cache(), suite).candidate(package)}"


def _boot(kernel: Kernel, origin: str, shell: str) -> Captured:
    with tempfile.TemporaryDirectory() as out:
        command = f"cat /proc/version; {shell}"
        run = run_in_guest(kernel, ("sh", "-c", command), out=Path(out), memory_mib=2048)
        if run.exit_code:
            raise CommandError(f"the guest could not {shell}:\n{run.stderr}")
        version, *lines = run.stdout.splitlines()
    how = f"in a guest: {shell}"
    return Captured(kernel.release, origin, compiler_of(version), how, trimmed(lines))


def compiler_of(version: str) -> str:
    """The compiler that /proc/version names: the second parenthesis, up to the linker."""
    found = re.search(r"\) \((.*?), (?:GNU ld|LLD|\w+ LLD)", version)
    return found[1] if found else "unknown compiler"


def trimmed(lines: Iterable[str]) -> list[str]:
    """The symbols whose name has to do with vmemmap, as they are."""
    return [line for line in lines if len(words := line.split()) in (3, 4) and WANTED in words[2]]


_BOOKWORM_BACKPORTS = Suite("bookworm-backports", security=False)

CAPTURES: dict[str, Capture] = {
    "patched": booted("patched"),
    "patched-slob": booted("patched-slob"),
    "debian-5.10": booted("debian-5.10"),
    "debian-6.1": booted("debian-6.1"),
    "debian-6.1-hidden": booted("debian-6.1", _HIDDEN),
    "debian-6.1-traced": booted("debian-6.1", _TRACED),
    "debian-6.1-rt": image(BOOKWORM, "rt-amd64"),
    "debian-6.12": booted("debian-6.12"),
    "debian-6.12-backport": image(_BOOKWORM_BACKPORTS, "amd64"),
    "debian-6.12-rt": image(TRIXIE, "rt-amd64"),
    "debian-7.2": booted("debian-sid"),
    "debian-7.2-amd64": image(SID, "amd64"),
    "debian-7.3": image(TRIXIE_BACKPORTS, "cloud-amd64"),
    "debian-7.3-rt": image(TRIXIE_BACKPORTS, "rt-amd64"),
    # What CONFIG_DEBUG_SECTION_MISMATCH compiles with.
    "gcc-6.1-not-inlined": build(
        Build(BOOKWORM, "linux-source-6.1", flags="-fno-inline-functions-called-once")
    ),
    "gcc-6.12-all-inlined": build(
        Build(
            TRIXIE,
            "linux-source-6.12",
            flags="-fipa-cp-clone --param ipa-cp-eval-threshold=1 --param ipa-cp-unit-growth=1000"
            " --param ipa-cp-large-unit-insns=100000",
        )
    ),
    "gcc-6.12-cloned": build(
        Build(
            TRIXIE,
            "linux-source-6.12",
            flags="-O3 -fno-inline --param ipa-cp-eval-threshold=1"
            " --param ipa-cp-unit-growth=10000",
        )
    ),
    "gcc-7.3-cloned": build(
        Build(
            TRIXIE_BACKPORTS,
            "linux-source-7.3",
            flags="-O3 -fno-inline --param ipa-cp-eval-threshold=1"
            " --param ipa-cp-unit-growth=10000",
        )
    ),
    "gcc-7.2-not-inlined": build(Build(SID, "linux-source-7.2", flags="-fno-inline")),
    "clang-6.1": build(Build(BOOKWORM, "linux-source-6.1", llvm="14")),
    "clang-7.3": build(Build(TRIXIE_BACKPORTS, "linux-source-7.3", llvm="19")),
    "clang-6.1-lto": build(
        Build(BOOKWORM, "linux-source-6.1", llvm="14", config=LTO_CONFIG, whole=True)
    ),
    "clang-7.3-lto": build(
        Build(TRIXIE_BACKPORTS, "linux-source-7.3", llvm="19", config=LTO_CONFIG, whole=True)
    ),
}


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(prog=_HERE, description=__doc__)
    parser.add_argument("name", choices=list(CAPTURES), nargs="?")
    parser.add_argument("--list", action="store_true", help="show the names")
    parser.add_argument("--work", type=Path, help="keep sources and builds in this directory")
    args = parser.parse_args()
    if args.list or not args.name:
        sys.stdout.write("\n".join([*CAPTURES, ""]))
        return
    with tempfile.TemporaryDirectory(prefix="hvo-capture-") as scratch:
        captured = CAPTURES[args.name]((args.work or Path(scratch)).resolve())
    sys.stdout.write(captured.text(args.name))


if __name__ == "__main__":
    main()

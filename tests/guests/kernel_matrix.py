# SPDX-License-Identifier: Apache-2.0
"""The kernels to test on. A new test kernel is one line in the table."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from tests.guests import patched, restore_leak, v17
from tests.guests.apt import Suite
from tests.guests.cache import Cache
from tests.guests.debian import Image, Newest
from tests.guests.kernels import Kernel

BOOKWORM = Suite("bookworm")
BULLSEYE = Suite("bullseye")
TRIXIE = Suite("trixie")
TRIXIE_BACKPORTS = Suite("trixie-backports", security=False)
# Their indexes are past their date on a mirror that lags behind.
SID = Suite("sid", security=False, check_valid_until=False)
EXPERIMENTAL = Suite("experimental", security=False, check_valid_until=False)

NO_ZEROING = "init_on_alloc=0"
"""Zeroing each page that is allocated takes an emulated CPU seconds per GiB. Debian does it."""


class Source(Protocol):
    """What makes a kernel: one of Debian's, or one built here."""

    def provide(self, name: str, cache: Cache, append: str = "") -> Kernel:
        """The kernel, downloaded or built if it is not in the cache."""


@dataclass(frozen=True)
class MatrixKernel:
    """A test kernel, with the boot parameters that belong to it."""

    about: str
    source: Source
    append: str = NO_ZEROING
    works: bool = True
    """The kernel optimises huge pages; without, the product must say why it does not."""
    whole: bool = False
    """Every test runs on it. On the others each count is checked once, in every way."""
    asked: bool = False
    """Only for the tests that name it, and only if `$HVOSCOPE_KERNELS` does so, too."""


def _backport(series: str) -> MatrixKernel:
    """A kernel between Debian's releases. The suite keeps headers of its newest kernel only."""
    return MatrixKernel(
        f"Debian trixie-backports, the last {series}",
        Image(TRIXIE_BACKPORTS, series, headers=TRIXIE_BACKPORTS),
    )


KERNELS = {
    "v17": MatrixKernel(
        "Linux 5.10 with patch v17 as it was mailed, built here", v17.RECIPE, whole=True
    ),
    "patched": MatrixKernel(
        "Linux 6.1 with the first HVO's names, built here", patched.RECIPE, whole=True
    ),
    "patched-no-btf": MatrixKernel("the patched kernel without BTF", patched.RECIPE),
    "debian-6.1": MatrixKernel("Debian bookworm", Image(BOOKWORM), whole=True),
    "debian-6.12-113": MatrixKernel(
        "Debian trixie, the last 6.12 with the walk of 6.7",
        Image(TRIXIE, "6.12", below="6.12.114"),
    ),
    # 6.12.118 hangs where it splits a transparent huge page that lies on memory of optimised ones
    # (probes/preflight/free_memory.py), and one run of many died of it.
    "debian-6.12": MatrixKernel(
        "Debian trixie, without transparent huge pages",
        Image(TRIXIE),
        append=f"{NO_ZEROING} transparent_hugepage=never",
        whole=True,
    ),
    "debian-6.12-stock": MatrixKernel(
        "Debian trixie, by Debian's own command line", Image(TRIXIE), ""
    ),
    "debian-6.16": _backport("6.16"),
    "debian-6.17": _backport("6.17"),
    "debian-6.18": _backport("6.18"),
    "debian-6.19": _backport("6.19"),
    "debian-7.0": _backport("7.0"),
    "debian-7.1": _backport("7.1"),
    "debian-sid": MatrixKernel("Debian sid", Image(SID), whole=True),
    "debian-newest": MatrixKernel(
        "the newest kernel of sid, trixie-backports and experimental",
        Newest((SID, TRIXIE_BACKPORTS, EXPERIMENTAL)),
    ),
    "debian-5.10": MatrixKernel("Debian bullseye, before HVO", Image(BULLSEYE), works=False),
    "patched-slob": MatrixKernel(
        "the patched kernel with a struct page of 56 bytes", patched.RECIPE, works=False
    ),
    "restore-leak": MatrixKernel(
        "the source of Debian trixie, built here", restore_leak.RECIPE, "", asked=True
    ),
    "restore-leak-fixed": MatrixKernel(
        "the same with its restore corrected", restore_leak.FIXED, "", asked=True
    ),
}


def provide(name: str, cache: Cache | None = None) -> Kernel:
    """A test kernel, downloaded or built if it is not in the cache."""
    entry = KERNELS[name]
    return entry.source.provide(name, cache or Cache(), entry.append)


def selected(environ: Mapping[str, str] = os.environ) -> list[str]:
    """Names of the test kernels to use: all of the matrix, or those in `$HVOSCOPE_KERNELS`."""
    return _named("HVOSCOPE_KERNELS", environ) or [
        name for name, kernel in KERNELS.items() if not kernel.asked
    ]


def under_test(*, works: bool = True, environ: Mapping[str, str] = os.environ) -> list[str]:
    """Those of the selected test kernels where HVO works, or those where it does not."""
    return [
        name
        for name in selected(environ)
        if KERNELS[name].works == works and not KERNELS[name].asked
    ]


def whole(environ: Mapping[str, str] = os.environ) -> list[str]:
    """Those of the selected kernels where every test runs; at most those in `$HVOSCOPE_WHOLE`."""
    wanted = _named("HVOSCOPE_WHOLE", environ) or KERNELS
    return [name for name in under_test(environ=environ) if KERNELS[name].whole and name in wanted]


def _named(variable: str, environ: Mapping[str, str]) -> list[str]:
    """Test kernels that an environment variable lists; empty where it is not set."""
    names = [name for name in environ.get(variable, "").split(",") if name]
    if unknown := [name for name in names if name not in KERNELS]:
        raise ValueError(
            f"{variable} names unknown test kernels {unknown}; there are {list(KERNELS)}"
        )
    return names

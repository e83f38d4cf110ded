# SPDX-License-Identifier: Apache-2.0
"""The kernels to test on. A new leg is one line in the table."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tests.kernel import debian, patched
from tests.kernel.apt import Suite
from tests.kernel.cache import Cache
from tests.kernel.kernels import Kernel

_BOOKWORM = Suite("bookworm")
_BULLSEYE = Suite("bullseye")
_TRIXIE = Suite("trixie")
_SID = Suite("sid", security=False, check_valid_until=False)

Provider = Callable[[str, Suite, Cache, str], Kernel]


@dataclass(frozen=True)
class Leg:
    """A kernel under a name, with the boot parameters that belong to it."""

    about: str
    suite: Suite
    provide: Provider
    append: str = ""
    works: bool = True
    """The kernel optimises huge pages; without, the product must say why it does not."""


LEGS = {
    "patched": Leg("Linux 6.1 with the first HVO's names, built here", _BOOKWORM, patched.provide),
    "debian-6.1": Leg("Debian bookworm, as it is", _BOOKWORM, debian.provide),
    # 6.12.118 hangs where it splits a transparent huge page that lies on memory of optimised ones
    # (probes/preflight/free_memory.py), and one run of many died of it.
    "debian-6.12": Leg(
        "Debian trixie, without transparent huge pages",
        _TRIXIE,
        debian.provide,
        append="transparent_hugepage=never",
    ),
    "debian-sid": Leg("Debian sid, as it is", _SID, debian.provide),
    "debian-5.10": Leg("Debian bullseye, before HVO", _BULLSEYE, debian.provide, works=False),
    "patched-slob": Leg(
        "the patched kernel with a struct page of 56 bytes",
        _BOOKWORM,
        patched.provide,
        works=False,
    ),
}


def provide(name: str, cache: Cache | None = None) -> Kernel:
    """The kernel of a leg, downloaded or built if it is not in the cache."""
    leg = LEGS[name]
    return leg.provide(name, leg.suite, cache or Cache(), leg.append)


def selected(environ: Mapping[str, str] = os.environ) -> list[str]:
    """Names of the legs to use: all, or those in `$HVOSCOPE_LEGS`."""
    names = environ.get("HVOSCOPE_LEGS", ",".join(LEGS)).split(",")
    if unknown := [name for name in names if name not in LEGS]:
        raise ValueError(f"HVOSCOPE_LEGS names unknown legs {unknown}; there are {list(LEGS)}")
    return names


def under_test(*, works: bool = True, environ: Mapping[str, str] = os.environ) -> list[str]:
    """Those of the selected legs where HVO works, or those where it does not."""
    return [name for name in selected(environ) if LEGS[name].works == works]

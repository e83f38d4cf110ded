# SPDX-License-Identifier: Apache-2.0
"""Published timings of allocating and freeing huge pages, without HVO and with it.

They are of other machines: figures are cited as published and never extrapolated.
"""

from typing import NamedTuple

from probes.geometry import GIB, KIB, MIB

_V17 = "cover letter of patch series v17, M. Song, Feb 2021"
_BATCH = "batch series v8, M. Kravetz, Oct 2023, 8 sockets"
_BOOT = "boot series v5, U. Arif, Sep 2023"


class Figure(NamedTuple):
    """One published measurement: ``pages`` huge pages of ``size`` bytes, without HVO and with."""

    what: str
    """``allocate``, ``free`` or ``boot``."""
    in_batches: bool
    """Measured on a kernel that optimizes in batches (Linux 6.7 and later)."""
    size: int
    pages: int
    off_seconds: float
    on_seconds: float
    source: str

    @property
    def kernels(self) -> str:
        """The kernels that it applies to, in short."""
        return "6.7 on" if self.in_batches else "to 6.6"


FIGURES: tuple[Figure, ...] = (
    Figure("allocate", False, 2 * MIB, 10_240, 0.067, 0.166, _V17),
    Figure("allocate", False, 2 * MIB, 500_000, 4.119, 28.973, _BATCH),
    Figure("allocate", True, 2 * MIB, 500_000, 4.119, 7.267, _BATCH),
    Figure("free", False, 2 * MIB, 10_240, 0.081, 0.213, _V17),
    Figure("free", False, 2 * MIB, 500_000, 4.477, 36.748, _BATCH),
    Figure("free", True, 2 * MIB, 500_000, 4.477, 13.199, _BATCH),
    # At boot, HVO saves time: fewer struct pages of 1 GB pages are initialized.
    Figure("boot", True, 1 * GIB, 500, 2.15, 1.32, _BOOT),
)


def figures_for(size: int, page_size: int, in_batches: bool | None) -> tuple[Figure, ...]:
    """Return the figures for huge pages of ``size``; all were measured with 4 KB pages.

    ``in_batches`` selects figures of kernels that do, or do not, optimize in batches; None: both.
    """
    return tuple(
        figure
        for figure in FIGURES
        if figure.size == size and page_size == 4 * KIB and in_batches in (None, figure.in_batches)
    )

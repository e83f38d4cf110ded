# SPDX-License-Identifier: Apache-2.0
"""Boots real kernels under QEMU and runs commands inside them.

kernel_matrix.py      the test kernels; each is one line
debian.py     Debian's own kernels        built.py     kernels built here: patched.py, v17.py
apt.py        packages of any suite       edits.py     source changes as data (*_edits.py, mail.py)
cache.py      where all that is kept      tools.py     what the host must have
qemu.py       run_in_guest()              guest.py     initramfs (cpio.py, modules.py, guest-*.sh)
emulator.py   deaths that are QEMU's      matrix.py    writes the table of docs/kernels.md
conftest.py   fixtures: kernel, guest     __main__.py  one command in one guest, by hand

capture_symbols.py  symbol tables for tests/data/kallsyms, of guests and of builds (compiled.py)
negative.py         runs in a guest: the product where HVO is absent, cannot work, is off, or hidden

`HVOSCOPE_KERNELS=patched,debian-6.1` selects test kernels. `HVOSCOPE_CACHE` moves the cache.
`HVOSCOPE_REQUIRE_KERNEL=1` makes what would be skipped fail. `HVOSCOPE_DEBIAN_MIRROR` and
`HVOSCOPE_DEBIAN_SECURITY_MIRROR` are for hosts whose own apt knows no Debian mirror.
"""

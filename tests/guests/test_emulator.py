# SPDX-License-Identifier: Apache-2.0
"""Which deaths of a guest are the emulator's, and that only those are booted again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.guests import emulator, qemu
from tests.guests.kernels import Kernel
from tests.guests.qemu import EmulatorError, GuestError, GuestRun, retrying

OOPS = """\
[    1.920312] Oops: general protection fault, probably for non-canonical address 0x4000: 0000 [#1]
[    1.921402] CPU: 1 PID: 77 Comm: modprobe Not tainted 6.12.107+deb13-cloud-amd64 #1 Debian
[    1.922177] RIP: 0010:{rip}
[    1.922810] RSP: 0018:ffffc900001bfd40 EFLAGS: {eflags}
[    1.923500] Call Trace:
[    1.923803]  <TASK>
[    1.924090]  ? {caller}
[    1.924800]  do_syscall_64+0x82/0x190
[    1.925200]  </TASK>
[    1.930000] Kernel panic - not syncing: Fatal exception
"""
SLUB = "kmem_cache_alloc_noprof+0x11c/0x2f0"
FILES = "getname_flags+0x4a/0x1e0"
INT3 = """\
[    3.104410] Oops: int3: 0000 [#1] PREEMPT SMP NOPTI
[    3.105001] RIP: 0010:{rip}
[    3.105702] RSP: 0018:ffffc900004ffbc8 EFLAGS: 00000246
[    3.106111] Call Trace:
[    3.106500]  {caller}
[    3.107200] Kernel panic - not syncing: Fatal exception
"""
INIT = "[    2.1] Kernel panic - not syncing: Attempted to kill init! exitcode=0x{code}\n"
TIMER = """\
[    0.020000] ..MP-BIOS bug: 8254 timer not connected to IO-APIC
[    0.052000] Kernel panic - not syncing: IO-APIC + timer doesn't work!  Boot with apic=debug
[    0.052000] CPU: 0 PID: 0 Comm: swapper/0 Not tainted 6.1.0-56-cloud-amd64 #1  Debian 6.1.192-2
[    0.052000] Call Trace:
[    0.052000]  panic+0x118/0x2f4
[    0.052000]  setup_IO_APIC+0x803/0x83b
"""
HUNG = "[    0.000000] Linux version 6.12.107+deb13-cloud-amd64\n"


@pytest.mark.parametrize(
    ("console", "said"),
    [
        (OOPS.format(rip=SLUB, caller=FILES, eflags="7bca62c2"), "EFLAGS has bits"),
        (OOPS.format(rip=SLUB, caller=FILES, eflags="00010244"), "EFLAGS has bits"),  # bit 1
        (INT3.format(rip="vm_normal_folio+0x1/0x70", caller="zap_pte_range+0x2/0x9"), "int3"),
        (INIT.format(code="0000000b"), "init was killed by signal 11"),
        (TIMER, "the timer's interrupt came too late"),
    ],
)
@pytest.mark.parametrize("started", [False, True])
def test_deaths_of_the_emulator(console: str, said: str, started: bool) -> None:
    assert said in emulator.death(console, started=started, timed_out=False)


@pytest.mark.parametrize(
    "console",
    [
        "",
        # A kernel's own oops: its flags are possible.
        OOPS.format(rip=SLUB, caller=FILES, eflags="00010246"),
        # The same signs with a function of HVO, of BPF or of the probes in the backtrace.
        OOPS.format(rip="vmemmap_remap_pte+0x5/0x90", caller=FILES, eflags="7bca62c2"),
        OOPS.format(rip=SLUB, caller="bpf_prog_test_run+0x4/0x80", eflags="7bca62c2"),
        OOPS.format(rip=SLUB, caller="__alloc_fresh_hugetlb_folio+0x1/0x2", eflags="7bca62c2"),
        INT3.format(rip="vm_normal_folio+0x1/0x70", caller="kprobe_ftrace_handler+0x1/0x2"),
        INT3.format(rip="hugetlb_vmemmap_restore+0x1/0x70", caller="zap_pte_range+0x2/0x9"),
        INT3.format(rip=SLUB, caller="free_huge_folio+0x19/0x3d0"),
        INIT.format(code="00007f00"),  # it ended by itself
        "[    9.0] Kernel panic - not syncing: sysrq triggered crash\n",
        "[    9.0] Kernel panic - not syncing: Out of memory: compulsory panic_on_oom\n",
    ],
)
@pytest.mark.parametrize("timed_out", [False, True])
def test_deaths_of_the_kernel(console: str, timed_out: bool) -> None:
    assert emulator.death(console, started=True, timed_out=timed_out) == ""


@pytest.mark.parametrize(
    ("console", "started", "timed_out", "emulators"),
    [
        (HUNG, False, True, True),
        ("", False, True, True),
        (HUNG, True, True, False),  # the command hangs
        (HUNG, False, False, False),  # it went off without a word
        (f"{HUNG}BUG: soft lockup", False, True, False),
        (f"{HUNG} ? hugetlb_vmemmap_init+0x1/0x2", False, True, False),
    ],
)
def test_a_hang_before_the_command(
    console: str, started: bool, timed_out: bool, emulators: bool
) -> None:
    assert bool(emulator.death(console, started=started, timed_out=timed_out)) == emulators


class Guests:
    """Guests that die of these errors one after the other, and then come through."""

    def __init__(self, *errors: GuestError) -> None:
        self.errors = list(errors)
        self.booted = 0

    def __call__(self, kernel: Kernel, argv: Any, *, out: Path, **_: object) -> GuestRun:
        self.booted += 1
        assert (out / "kept").exists()
        assert not (out / "left").exists()
        assert not (out / "folder").exists()
        (out / "console.log").write_text(f"boot {self.booted}")
        (out / "left").touch()
        (out / "folder").mkdir()
        if self.errors:
            raise self.errors.pop(0)
        return GuestRun(0, out, 1.0)


KERNEL = Kernel("x", "1.0", Path("/vmlinuz"), None, ())


def test_it_is_booted_once_more_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "kept").touch()
    guests = Guests(EmulatorError("int3", "..."))
    assert retrying(guests, KERNEL, ["true"], out=tmp_path).console == "boot 2"
    assert (tmp_path / "console-first.log").read_text() == "boot 1"
    assert "x: int3: a known fault of the emulator; booting once more" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("errors", "booted"),
    [
        ([EmulatorError("int3", ""), EmulatorError("int3", "")], 2),
        ([GuestError("guest died: Kernel panic")], 1),
        ([qemu.GuestTimeoutError("guest killed after 8 s")], 1),
    ],
)
def test_no_other_death_is_and_none_twice(
    tmp_path: Path, errors: list[GuestError], booted: int
) -> None:
    (tmp_path / "kept").touch()
    guests = Guests(*errors)
    with pytest.raises(type(errors[-1])):
        retrying(guests, KERNEL, ["true"], out=tmp_path)
    assert guests.booted == booted

# SPDX-License-Identifier: Apache-2.0
"""A plain BCC tool, as its tutorial teaches: a record of each PTE through a perf buffer.

Run by the system's Python, which has BCC. Prints ``ready``, and on SIGTERM what it received.
"""

import importlib
import signal
import sys
from typing import Any

TEXT = """
#include <uapi/linux/ptrace.h>
struct record { u64 ns, address; u32 pid; u32 restored; char comm[16]; };
BPF_PERF_OUTPUT(records);

static int submit(struct pt_regs *ctx, u32 restored)
{
	struct record r = {};

	r.ns = bpf_ktime_get_ns();
	r.address = PT_REGS_PARM2(ctx);
	r.pid = bpf_get_current_pid_tgid() >> 32;
	r.restored = restored;
	bpf_get_current_comm(&r.comm, sizeof(r.comm));
	records.perf_submit(ctx, &r, sizeof(r));
	return 0;
}

int remapped(struct pt_regs *ctx) { return submit(ctx, 0); }
int restored(struct pt_regs *ctx) { return submit(ctx, 1); }
"""

seen = {"received": 0, "lost": 0}


def on_record(_cpu: int, data: Any, _size: int) -> None:
    """Look at the record, as any tool would."""
    bpf["records"].event(data)
    seen["received"] += 1


def on_lost(count: int) -> None:
    """What the kernel says it dropped."""
    seen["lost"] += count


bpf = importlib.import_module("bcc").BPF(text=TEXT, cflags=["-Wno-everything"])
bpf.attach_kprobe(event="vmemmap_remap_pte", fn_name="remapped")
bpf.attach_kprobe(event="vmemmap_restore_pte", fn_name="restored")
bpf["records"].open_perf_buffer(on_record, page_cnt=64, lost_cb=on_lost)
ended: list[bool] = []
signal.signal(signal.SIGTERM, lambda *_: ended.append(True))
sys.stdout.write("ready\n")
sys.stdout.flush()
while not ended:
    bpf.perf_buffer_poll(100)
sys.stdout.write(f"{seen['received']} {seen['lost']}\n")

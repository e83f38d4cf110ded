/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The kernel side of hvoscope: one program for every probe.
 *
 * An operation (optimise or restore one huge page) runs in one task from enter
 * to exit. Between the two, its state lives in `operations`; the totals are
 * committed at the exit, so a rolled-back attempt never looks like a saving.
 *
 * No kernel struct is named here but pt_regs, whose layout is fixed. probes/live/program.py prepends hvo_event.h
 * and the definitions it made for this kernel:
 *   HVO_PAGE_SIZE, HVO_STRUCT_PAGE_SIZE       bytes
 *   HVO_HSTATE_ORDER, HVO_PAGE_FLAGS          byte offsets, from BTF
 *   HVO_WALK_REUSE_ADDR                       byte offset, or -1: no such member
 *   HVO_NODES_SHIFT                           bits of the node number in page->flags
 *   HVO_SWITCH                                address of the kernel's switch, or 0
 *   HVO_RANGE_HAS_WALK                        1: the range hook is vmemmap_remap_range
 *   HVO_OPTIMIZE_RETURNS                      1: the per-page function returns an errno
 *   HVO_STREAM, HVO_STREAM_PAGES              event stream wanted, and its size
 *   HVO_CPUS, struct hvo_block, HVO_SLOT_*,
 *   HVO_DIAG_*, HVO_BUCKETS, hvo_bucket(),
 *   hvo_size_index(), HVO_NODES,
 *   HVO_OPTIMIZABLE(order)                    the counters (probes/live/layout.py)
 */
#include <linux/ptrace.h>

struct operation {
	u64 since_ns;
	u64 head;
	u64 end;
	u32 key;
	u32 ptes;
	int range_ret;
	short node;
	u8 order;
	u8 size_index;
	u8 restoring;
	u8 reason;
	u8 ranges;
	u8 head_remapped;
};

/* One block of counters per CPU: nothing is shared, so nothing is lost. */
BPF_F_TABLE("array", int, struct hvo_block, counters, HVO_CPUS, BPF_F_MMAPABLE);
/* By thread. 4096 tasks at once inside these functions are out of sight. */
BPF_HASH(operations, u32, struct operation, 4096);
#if HVO_STREAM
BPF_RINGBUF_OUTPUT(events, HVO_STREAM_PAGES);
#endif

/*
 * Atomic although each block has one CPU: a trampoline (fentry) leaves
 * preemption on, and two tasks of one CPU must not lose each other's count.
 */
#define ADD(field, n) __sync_fetch_and_add(&(field), (n))

static __always_inline struct hvo_block *block_of_cpu(void)
{
	int cpu = bpf_get_smp_processor_id();

	return counters.lookup(&cpu);
}

static __always_inline struct operation *current_operation(void)
{
	u32 pid = bpf_get_current_pid_tgid();

	return operations.lookup(&pid);
}

struct report {
	u8 kind;
	u64 start, end, reuse, duration_ns;
	int ret;
	u32 ptes, frames_freed, frames_allocated;
};

static __always_inline void emit(struct hvo_block *block, struct operation *op, struct report *r)
{
#if HVO_STREAM
	u64 id = bpf_get_current_pid_tgid();
	u64 sequence = block->diag[HVO_DIAG_SEQUENCE];
	struct hvo_event *event;

	block->diag[HVO_DIAG_SEQUENCE] = sequence + 1;
	event = events.ringbuf_reserve(sizeof(*event));
	if (!event) {
		ADD(block->diag[HVO_DIAG_STREAM_LOST], 1);
		return;
	}
	event->timestamp_ns = bpf_ktime_get_ns();
	event->sequence = sequence;
	event->start = r->start;
	event->end = r->end;
	event->reuse = r->reuse;
	event->duration_ns = r->duration_ns;
	event->ret = r->ret;
	event->pid = (u32)id;
	event->tgid = id >> 32;
	event->ptes = r->ptes;
	event->frames_freed = r->frames_freed;
	event->frames_allocated = r->frames_allocated;
	event->cpu = bpf_get_smp_processor_id();
	event->node = op->node;
	event->kind = r->kind;
	event->order = op->order;
	event->reason = r->kind == HVO_OPTIMIZE_EXIT && !r->ret && !r->ptes ? op->reason : 0;
	event->version = HVO_EVENT_VERSION;
	bpf_get_current_comm(&event->comm, sizeof(event->comm));
	events.ringbuf_submit(event, 0);
#endif
}

/* In the kernel's own order: the switch first (vmemmap_should_optimize). */
static __always_inline u8 reason_to_skip(u32 order)
{
	u8 on = 0;
	int known = HVO_SWITCH && !bpf_probe_read_kernel(&on, sizeof(on), (void *)HVO_SWITCH);

	if (known && !on)
		return HVO_REASON_OFF;
	if (!HVO_OPTIMIZABLE(order))
		return HVO_REASON_UNSUPPORTED;
	return known ? HVO_REASON_OTHER : HVO_REASON_UNKNOWN;
}

static __always_inline void enter(u64 hstate, u64 head, u8 restoring)
{
	struct hvo_block *block = block_of_cpu();
	struct operation op = {}, *stale = current_operation();
	struct report r = {};
	u32 pid = bpf_get_current_pid_tgid();
	u32 order = 0;
	u64 flags = 0;
	int size_index;

	if (!block)
		return;
	if (stale)	/* its exit never came: the kernel ran out of return probes */
		ADD(block->diag[stale->restoring ? HVO_DIAG_MISSED_RESTORE :
						   HVO_DIAG_MISSED_OPTIMIZE], 1);
	bpf_probe_read_kernel(&order, sizeof(order), (void *)(hstate + HVO_HSTATE_ORDER));
	bpf_probe_read_kernel(&flags, sizeof(flags), (void *)(head + HVO_PAGE_FLAGS));
#if HVO_NODES_SHIFT
	/* The node is on top of page->flags: sparsemem-vmemmap keeps no section there. */
	op.node = flags >> (64 - HVO_NODES_SHIFT);
#endif
	size_index = hvo_size_index(order);
	if (size_index < 0 || op.node >= HVO_NODES) {
		ADD(block->diag[restoring ? HVO_DIAG_UNFOLLOWED_RESTORE :
					    HVO_DIAG_UNFOLLOWED_OPTIMIZE], 1);
		operations.delete(&pid);
		return;
	}
	op.order = order;
	op.size_index = size_index;
	op.key = size_index * HVO_NODES + op.node;
	op.head = head;
	op.end = head + ((u64)HVO_STRUCT_PAGE_SIZE << order);
	op.restoring = restoring;
	if (!restoring) {
		op.reason = reason_to_skip(order);
		if (op.key < HVO_KEYS)
			ADD(block->total[op.key][HVO_SLOT_OPTIMIZE_CALLS], 1);
	}
	r.kind = restoring ? HVO_RESTORE_ENTER : HVO_OPTIMIZE_ENTER;
	r.start = op.head;
	r.end = op.end;
	emit(block, &op, &r);
	op.since_ns = bpf_ktime_get_ns();
	if (operations.update(&pid, &op))
		ADD(block->diag[restoring ? HVO_DIAG_UNFOLLOWED_RESTORE :
					    HVO_DIAG_UNFOLLOWED_OPTIMIZE], 1);
}

static __always_inline void
observe(struct hvo_block *block, struct operation *op, int restoring, u64 duration_ns)
{
	u32 bucket = hvo_bucket(duration_ns);
	u32 size_index = op->size_index;

	if (size_index >= HVO_SIZES || bucket >= HVO_BUCKETS)
		return;
	ADD(block->duration[restoring][size_index].bucket[bucket], 1);
	ADD(block->duration[restoring][size_index].sum_ns, duration_ns);
}

static __always_inline void count_error(u64 *slots, int ret, int enomem, int enotsupp, int other)
{
	if (ret == -12)
		ADD(slots[enomem], 1);
	else if (ret == -524)
		ADD(slots[enotsupp], 1);
	else
		ADD(slots[other], 1);
}

static __always_inline void count_skip(u64 *slots, u8 reason)
{
	if (reason == HVO_REASON_OFF)
		ADD(slots[HVO_SLOT_HUGEPAGES_SKIPPED_OFF], 1);
	else if (reason == HVO_REASON_UNSUPPORTED)
		ADD(slots[HVO_SLOT_HUGEPAGES_SKIPPED_UNSUPPORTED], 1);
	else if (reason == HVO_REASON_OTHER)
		ADD(slots[HVO_SLOT_HUGEPAGES_SKIPPED_OTHER], 1);
	else
		ADD(slots[HVO_SLOT_HUGEPAGES_SKIPPED_UNKNOWN], 1);
}

int optimize_enter(struct pt_regs *ctx)
{
	enter(PT_REGS_PARM1(ctx), PT_REGS_PARM2(ctx), 0);
	return 0;
}

int restore_enter(struct pt_regs *ctx)
{
	enter(PT_REGS_PARM1(ctx), PT_REGS_PARM2(ctx), 1);
	return 0;
}

int optimize_exit(struct pt_regs *ctx)
{
	struct hvo_block *block = block_of_cpu();
	struct operation *op = current_operation();
	struct report r = { .kind = HVO_OPTIMIZE_EXIT };
	u32 pid = bpf_get_current_pid_tgid();
	u32 key;
	u64 *slots;

	if (!block || !op || op->restoring || op->key >= HVO_KEYS)
		return 0;
	key = op->key;
	slots = block->total[key];
	r.start = op->head;
	r.end = op->end;
	r.duration_ns = bpf_ktime_get_ns() - op->since_ns;
	r.ret = HVO_OPTIMIZE_RETURNS ? (int)PT_REGS_RC(ctx) : op->range_ret;
	if (r.ret < 0) {
		count_error(slots, r.ret, HVO_SLOT_OPTIMIZE_FAILURES_ENOMEM,
			    HVO_SLOT_OPTIMIZE_FAILURES_ENOTSUPP, HVO_SLOT_OPTIMIZE_FAILURES_OTHER);
		observe(block, op, 0, r.duration_ns);
	} else if (!op->ptes) {
		count_skip(slots, op->reason);
	} else {
		/* Each remapped PTE leaves its old frame on the list that is then freed. */
		r.ptes = r.frames_freed = op->ptes;
		r.frames_allocated = op->head_remapped;
		ADD(slots[HVO_SLOT_HUGEPAGES_OPTIMIZED], 1);
		ADD(slots[HVO_SLOT_PTES_REMAPPED], r.ptes);
		ADD(slots[HVO_SLOT_FRAMES_FREED], r.frames_freed);
		ADD(slots[HVO_SLOT_FRAMES_ALLOCATED_HEAD], r.frames_allocated);
		observe(block, op, 0, r.duration_ns);
	}
	emit(block, op, &r);
	operations.delete(&pid);
	return 0;
}

int restore_exit(struct pt_regs *ctx)
{
	struct hvo_block *block = block_of_cpu();
	struct operation *op = current_operation();
	struct report r = { .kind = HVO_RESTORE_EXIT };
	u32 pid = bpf_get_current_pid_tgid();
	u32 key;
	u64 *slots;

	if (!block || !op || !op->restoring || op->key >= HVO_KEYS)
		return 0;
	key = op->key;
	slots = block->total[key];
	r.start = op->head;
	r.end = op->end;
	r.duration_ns = bpf_ktime_get_ns() - op->since_ns;
	r.ret = PT_REGS_RC(ctx);
	if (r.ret < 0) {
		count_error(slots, r.ret, HVO_SLOT_RESTORE_FAILURES_ENOMEM,
			    HVO_SLOT_RESTORE_FAILURES_OTHER, HVO_SLOT_RESTORE_FAILURES_OTHER);
		observe(block, op, 1, r.duration_ns);
	} else if (op->ptes) {
		r.ptes = r.frames_allocated = op->ptes;
		ADD(slots[HVO_SLOT_HUGEPAGES_RESTORED], 1);
		ADD(slots[HVO_SLOT_PTES_RESTORED], r.ptes);
		ADD(slots[HVO_SLOT_FRAMES_ALLOCATED_RESTORE], r.frames_allocated);
		observe(block, op, 1, r.duration_ns);
	}
	emit(block, op, &r);
	operations.delete(&pid);
	return 0;
}

int remap_range_enter(struct pt_regs *ctx)
{
	struct hvo_block *block = block_of_cpu();
	struct operation *op = current_operation();
	struct report r = { .kind = HVO_REMAP_RANGE };

	if (!block || !op || op->restoring)
		return 0;
	/* A second range in one optimisation is the roll-back of the first. */
	if (op->ranges++)
		return 0;
	r.start = PT_REGS_PARM1(ctx);
	r.end = PT_REGS_PARM2(ctx);
#if !HVO_RANGE_HAS_WALK
	r.reuse = PT_REGS_PARM3(ctx);
#elif HVO_WALK_REUSE_ADDR >= 0
	bpf_probe_read_kernel(&r.reuse, sizeof(r.reuse),
			      (void *)(PT_REGS_PARM3(ctx) + HVO_WALK_REUSE_ADDR));
#endif
	emit(block, op, &r);
	return 0;
}

int remap_range_exit(struct pt_regs *ctx)
{
	struct operation *op = current_operation();

	if (op && !op->restoring && op->ranges == 1)
		op->range_ret = PT_REGS_RC(ctx);
	return 0;
}

static __always_inline int pte_step(struct pt_regs *ctx, u8 kind)
{
	struct hvo_block *block = block_of_cpu();
	struct operation *op = current_operation();
	struct report r = { .kind = kind };
	u64 address = PT_REGS_PARM2(ctx);

	/* Restored PTEs inside an optimisation belong to a roll-back. */
	if (!block || !op || op->restoring != (kind == HVO_RESTORE_PTE))
		return 0;
	op->ptes++;
	if (address == op->head)
		op->head_remapped = 1;
	r.start = address;
	r.end = address + HVO_PAGE_SIZE;
	emit(block, op, &r);
	return 0;
}

int remap_pte(struct pt_regs *ctx)
{
	return pte_step(ctx, HVO_REMAP_PTE);
}

int restore_pte(struct pt_regs *ctx)
{
	return pte_step(ctx, HVO_RESTORE_PTE);
}

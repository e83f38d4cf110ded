/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The kernel side of hvoscope: what every probe does, whichever function it
 * sits on and however it is attached.
 *
 * An operation (optimise or restore one huge page) runs in one task from enter
 * to exit. Between the two, its state lives in `operations`; the totals are
 * committed at the exit, so a rolled-back attempt never looks like a saving.
 *
 * No kernel struct is named here but pt_regs, whose layout is fixed.
 * probes/live/program.py prepends hvo_event.h and the definitions it made for
 * this kernel, and appends an entry point for each hook:
 *   HVO_PAGE_SIZE, HVO_STRUCT_PAGE_SIZE       bytes
 *   HVO_HSTATE_ORDER, HVO_PAGE_FLAGS          byte offsets, from BTF
 *   HVO_WALK_NR_WALKED, HVO_WALK_HEAD         the same, of struct vmemmap_remap_walk
 *   HVO_WALK_REUSE_ADDR                       the same, or -1: no such member
 *   HVO_WALK_SKIPS                            1: a walk without a page to map skips its first PTE
 *   HVO_NODES_SHIFT                           bits of the node number in page->flags
 *   HVO_PTE_PROBES                            1: PTEs are counted by probes, 0: by the walk
 *   HVO_STREAM, HVO_STREAM_PAGES              event stream wanted, and its size
 *   HVO_CPUS, struct hvo_block, HVO_SLOT_*,
 *   HVO_DIAG_*, HVO_DURATION_*, HVO_BUCKETS,
 *   hvo_bucket(), hvo_size_index(), HVO_NODES,
 *   HVO_OPTIMIZABLE(order)                    the counters (probes/live/layout.py)
 */
#include <uapi/linux/ptrace.h>

struct operation {
	u64 since_ns;
	u64 head;
	u64 end;
	u64 walk;
	u32 key;
	u32 ptes;
	int ret;	/* of the range function, until a function that knows better returns */
	short node;
	u8 order;
	u8 size_index;
	u8 restoring;
	u8 reason;
	u8 ranges;
	u8 depth;
	u8 head_remapped;
	u8 first_skipped;
};

/* A list of huge pages on its way through hugetlb_vmemmap_optimize_folios. */
struct batch {
	u64 since_ns;
	u32 ptes;
	u8 order;
	u8 size_index;
};

/* One block of counters per CPU: nothing is shared, so nothing is lost. */
BPF_F_TABLE("array", int, struct hvo_block, counters, HVO_CPUS, BPF_F_MMAPABLE);
/* By thread. 4096 tasks at once inside these functions are out of sight. */
BPF_HASH(operations, u32, struct operation, 4096);
BPF_HASH(batches, u32, struct batch, 4096);
/* Of the kernel's switch, or 0: it moves with every boot, this text does not. */
BPF_ARRAY(switch_address, u64, 1);
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
	u8 kind, order, reason;
	short node;
	u64 start, end, reuse, duration_ns;
	int ret;
	u32 ptes, frames_freed, frames_allocated;
};

static __always_inline void emit(struct hvo_block *block, struct report *r)
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
	event->node = r->node;
	event->kind = r->kind;
	event->order = r->order;
	event->reason = r->reason;
	event->version = HVO_EVENT_VERSION;
	bpf_get_current_comm(&event->comm, sizeof(event->comm));
	events.ringbuf_submit(event, 0);
#endif
}

static __always_inline struct report report_of(struct operation *op, u8 kind)
{
	struct report r = {
		.kind = kind,
		.order = op->order,
		.node = op->node,
		.start = op->head,
		.end = op->end,
	};
	return r;
}

static __always_inline u32 order_of(u64 hstate)
{
	u32 order = 0;

	bpf_probe_read_kernel(&order, sizeof(order), (void *)(hstate + HVO_HSTATE_ORDER));
	return order;
}

static __always_inline int node_of(u64 page)
{
#if HVO_NODES_SHIFT
	u64 flags = 0;

	/* The node is on top of page->flags: sparsemem-vmemmap keeps no section there. */
	bpf_probe_read_kernel(&flags, sizeof(flags), (void *)(page + HVO_PAGE_FLAGS));
	return flags >> (64 - HVO_NODES_SHIFT);
#else
	return 0;
#endif
}

/* In the kernel's own order: the switch first (vmemmap_should_optimize). */
static __always_inline u8 reason_to_skip(u32 order)
{
	u8 on = 0;
	int first = 0;
	u64 *address = switch_address.lookup(&first);
	int known = address && *address &&
		    !bpf_probe_read_kernel(&on, sizeof(on), (void *)*address);

	if (known && !on)
		return HVO_REASON_OFF;
	if (!HVO_OPTIMIZABLE(order))
		return HVO_REASON_UNSUPPORTED;
	return known ? HVO_REASON_OTHER : HVO_REASON_UNKNOWN;
}

static __always_inline void missed(struct hvo_block *block, u8 restoring)
{
	if (restoring)
		ADD(block->diag[HVO_DIAG_MISSED_RESTORE], 1);
	else
		ADD(block->diag[HVO_DIAG_MISSED_OPTIMIZE], 1);
}

static __always_inline void on_enter(u64 hstate, u64 head, u8 restoring)
{
	struct hvo_block *block = block_of_cpu();
	struct operation op = {}, *outer = current_operation();
	struct report r;
	u32 pid = bpf_get_current_pid_tgid();
	u32 order = order_of(hstate);
	int node = node_of(head);
	int size_index = hvo_size_index(order);

	if (!block)
		return;
	if (outer && outer->head == head && outer->restoring == restoring) {
		outer->depth++;	/* one function of the step calls another */
		return;
	}
	if (outer)	/* its exit never came: the kernel ran out of return probes */
		missed(block, outer->restoring);
	if (size_index < 0 || node >= HVO_NODES) {
		ADD(block->diag[HVO_DIAG_MAP_ERRORS], 1);
		operations.delete(&pid);
		return;
	}
	op.order = order;
	op.node = node;
	op.size_index = size_index;
	op.key = size_index * HVO_NODES + node;
	op.head = head;
	op.end = head + ((u64)HVO_STRUCT_PAGE_SIZE << order);
	op.restoring = restoring;
	if (!restoring) {
		op.reason = reason_to_skip(order);
		if (op.key < HVO_KEYS)
			ADD(block->total[op.key][HVO_SLOT_OPTIMIZE_CALLS], 1);
	}
	r = report_of(&op, restoring ? HVO_RESTORE_ENTER : HVO_OPTIMIZE_ENTER);
	emit(block, &r);
	op.since_ns = bpf_ktime_get_ns();
	if (operations.update(&pid, &op))
		ADD(block->diag[HVO_DIAG_MAP_ERRORS], 1);
}

static __always_inline void
observe(struct hvo_block *block, u32 which, u32 size_index, u64 duration_ns)
{
	u32 bucket = hvo_bucket(duration_ns);

	if (size_index >= HVO_SIZES || bucket >= HVO_BUCKETS)
		return;
	ADD(block->duration[which][size_index].bucket[bucket], 1);
	ADD(block->duration[which][size_index].sum_ns, duration_ns);
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

static __always_inline void worked_in_batch(u32 pid, u32 ptes)
{
	struct batch *batch = batches.lookup(&pid);

	if (batch)
		batch->ptes += ptes;
}

static __always_inline void
finish_optimize(struct hvo_block *block, struct operation *op, u64 *slots, struct report *r)
{
	if (r->ret == -12)
		ADD(slots[HVO_SLOT_OPTIMIZE_FAILURES_ENOMEM], 1);
	else if (r->ret == -524)
		ADD(slots[HVO_SLOT_OPTIMIZE_FAILURES_ENOTSUPP], 1);
	else if (r->ret < 0)
		ADD(slots[HVO_SLOT_OPTIMIZE_FAILURES_OTHER], 1);
	else if (!op->ptes) {
		r->reason = op->reason;
		count_skip(slots, op->reason);
		return;
	} else {
		/* Each remapped PTE leaves its old frame on the list that is then freed. */
		r->ptes = r->frames_freed = op->ptes;
		r->frames_allocated = op->head_remapped;
		ADD(slots[HVO_SLOT_HUGEPAGES_OPTIMIZED], 1);
		ADD(slots[HVO_SLOT_PTES_REMAPPED], r->ptes);
		ADD(slots[HVO_SLOT_FRAMES_FREED], r->frames_freed);
		ADD(slots[HVO_SLOT_FRAMES_ALLOCATED_HEAD], r->frames_allocated);
	}
	observe(block, HVO_DURATION_OPTIMIZE, op->size_index, r->duration_ns);
}

static __always_inline void
finish_restore(struct hvo_block *block, struct operation *op, u64 *slots, struct report *r)
{
	if (r->ret == -12)
		ADD(slots[HVO_SLOT_RESTORE_FAILURES_ENOMEM], 1);
	else if (r->ret < 0)
		ADD(slots[HVO_SLOT_RESTORE_FAILURES_OTHER], 1);
	else if (!op->ptes)
		return;
	else {
		r->ptes = r->frames_allocated = op->ptes;
		ADD(slots[HVO_SLOT_HUGEPAGES_RESTORED], 1);
		ADD(slots[HVO_SLOT_PTES_RESTORED], r->ptes);
		ADD(slots[HVO_SLOT_FRAMES_ALLOCATED_RESTORE], r->frames_allocated);
	}
	observe(block, HVO_DURATION_RESTORE, op->size_index, r->duration_ns);
}

static __always_inline void on_exit(u8 restoring)
{
	struct hvo_block *block = block_of_cpu();
	struct operation *op = current_operation();
	u32 pid = bpf_get_current_pid_tgid();
	struct report r;
	u32 key;

	if (!block || !op || op->restoring != restoring)
		return;
	if (op->depth) {
		op->depth--;
		return;
	}
	key = op->key;
	if (key >= HVO_KEYS)
		return;
	r = report_of(op, restoring ? HVO_RESTORE_EXIT : HVO_OPTIMIZE_EXIT);
	r.duration_ns = bpf_ktime_get_ns() - op->since_ns;
	r.ret = op->ret;
	if (restoring)
		finish_restore(block, op, block->total[key], &r);
	else {
		finish_optimize(block, op, block->total[key], &r);
		worked_in_batch(pid, r.ptes);
	}
	emit(block, &r);
	operations.delete(&pid);
}

/* A function that knows the operation's result has returned, perhaps inside another. */
static __always_inline void on_return(int ret, u8 restoring)
{
	struct operation *op = current_operation();

	if (op && op->restoring == restoring)
		op->ret = ret;
}

/*
 * walk->reuse_page until Linux 7.1: NULL at the entry means that the first PTE
 * is looked at and skipped; a page means that it becomes the new head (6.2).
 * walk->vmemmap_head from then on: the new head, or NULL; nothing is skipped.
 */
static __always_inline void look_at_walk(struct operation *op, u64 walk)
{
	u64 page = 0;

	op->walk = walk;
	bpf_probe_read_kernel(&page, sizeof(page), (void *)(walk + HVO_WALK_HEAD));
	op->first_skipped = HVO_WALK_SKIPS && !page;
#if !HVO_PTE_PROBES
	op->head_remapped = !op->restoring && page;
#endif
}

static __always_inline void on_range_enter(u64 start, u64 end, u64 reuse, u64 walk)
{
	struct hvo_block *block = block_of_cpu();
	struct operation *op = current_operation();
	struct report r;

	if (!block || !op)
		return;
	/* A second range in one optimisation is the roll-back of the first. */
	if (op->ranges++)
		return;
	if (walk) {
		look_at_walk(op, walk);
#if HVO_WALK_REUSE_ADDR >= 0
		bpf_probe_read_kernel(&reuse, sizeof(reuse),
				      (void *)(walk + HVO_WALK_REUSE_ADDR));
#endif
	}
#if HVO_WALK_REUSE_ADDR < 0
	reuse = 0;	/* Linux 7.1: vmemmap_remap_free has another third argument */
#endif
	if (op->restoring)
		return;
	r = report_of(op, HVO_REMAP_RANGE);
	r.start = start;
	r.end = end;
	r.reuse = reuse;
	emit(block, &r);
}

static __always_inline void on_range_exit(int ret)
{
	struct operation *op = current_operation();

	if (!op || op->ranges != 1)
		return;
	if (!op->restoring)
		op->ret = ret;
#if !HVO_PTE_PROBES
	u64 walked = 0;

	bpf_probe_read_kernel(&walked, sizeof(walked), (void *)(op->walk + HVO_WALK_NR_WALKED));
	op->ptes = walked ? walked - op->first_skipped : 0;
#endif
}

static __always_inline void on_pte(u64 address, u8 kind)
{
	struct hvo_block *block = block_of_cpu();
	struct operation *op = current_operation();
	struct report r;

	/* Restored PTEs inside an optimisation belong to a roll-back. */
	if (!block || !op || op->restoring != (kind == HVO_RESTORE_PTE))
		return;
	op->ptes++;
	if (address == op->head)
		op->head_remapped = 1;
	r = report_of(op, kind);
	r.start = address;
	r.end = address + HVO_PAGE_SIZE;
	emit(block, &r);
}

static __always_inline void on_batch_enter(u64 hstate)
{
	struct hvo_block *block = block_of_cpu();
	struct batch batch = {};
	struct report r = { .kind = HVO_BATCH_ENTER, .node = -1 };
	u32 pid = bpf_get_current_pid_tgid();
	int size_index;

	batch.order = r.order = order_of(hstate);
	size_index = hvo_size_index(batch.order);
	if (!block || size_index < 0)
		return;
	batch.size_index = size_index;
	emit(block, &r);
	batch.since_ns = bpf_ktime_get_ns();
	if (batches.update(&pid, &batch))
		ADD(block->diag[HVO_DIAG_MAP_ERRORS], 1);
}

static __always_inline void on_batch_exit(void)
{
	struct hvo_block *block = block_of_cpu();
	struct report r = { .kind = HVO_BATCH_EXIT, .node = -1 };
	u32 pid = bpf_get_current_pid_tgid();
	struct batch *batch = batches.lookup(&pid);

	if (!block || !batch)
		return;
	r.order = batch->order;
	r.ptes = batch->ptes;
	r.duration_ns = bpf_ktime_get_ns() - batch->since_ns;
	/* Off, or an empty list: nothing was batched. */
	if (r.ptes)
		observe(block, HVO_DURATION_BATCH, batch->size_index, r.duration_ns);
	emit(block, &r);
	batches.delete(&pid);
}

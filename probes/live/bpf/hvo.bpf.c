/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The kernel side of hvoscope: what every probe does, whichever function it
 * sits on and however it is attached.
 *
 * An operation (optimise or restore one huge page) runs in one task from enter
 * to exit. Between the two, its state lives at the task's place; the totals are
 * committed at the exit, so a rolled-back attempt never looks like a saving.
 *
 * No kernel struct is named here but pt_regs, whose layout is fixed.
 * probes/live/program.py puts it together: hvo_event.h, the definitions that it
 * made for this kernel, hvo_operation.h, hvo_stream.h, this, and an entry point
 * for each hook. Defined are:
 *   HVO_PAGE_SIZE, HVO_STRUCT_PAGE_SIZE       bytes
 *   HVO_HSTATE_ORDER, HVO_PAGE_FLAGS          byte offsets, from BTF
 *   HVO_WALK_NR_WALKED, HVO_WALK_HEAD         the same, of struct vmemmap_remap_walk
 *   HVO_WALK_REUSE_ADDR                       the same, or -1: no such member
 *   HVO_WALK_SKIPS                            1: a walk without a page to map skips its first PTE
 *   HVO_NODES_SHIFT                           bits of the node number in page->flags
 *   HVO_PTE_PROBES                            1: PTEs are counted by probes, 0: by the walk
 *   HVO_RANGE_ENTRIES                         1: ranges are seen to begin, 0: at most to end
 *   HVO_BATCHES                               1: this kernel has batches
 *   HVO_STREAM, HVO_STREAM_PAGES              event stream wanted, and its size in pages
 *   HVO_WAKE_EVERY                            records of a CPU, a power of two
 *   HVO_CPUS, struct hvo_block, HVO_SLOT_*,
 *   HVO_DIAG_*, HVO_DURATION_*, HVO_BUCKETS,
 *   hvo_bucket(), hvo_size_index(), HVO_NODES,
 *   HVO_OPTIMIZABLE(order)                    the counters (probes/live/layout.py)
 */

/* A list of huge pages on its way through hugetlb_vmemmap_optimize_folios. */
struct batch {
	u64 since_ns;
	u32 ptes;
	u8 order;
	u8 size_index;
};

BPF_HASH(batches, u32, struct batch, 4096);
/* Of the kernel's switch, or 0: it moves with every boot, this text does not. */
BPF_ARRAY(switch_address, u64, 1);

static __always_inline struct report report_of(struct operation *op, u8 kind)
{
	struct report r = {
		.kind = kind,
		.order = op->order,
		.node = op->node,
		.start = op->head,
		.end = op->head + ((u64)HVO_STRUCT_PAGE_SIZE << op->order),
	};
	return r;
}

/*
 * What an argument of a trampoline points to, whose type the verifier knows, is
 * read without a call. Of a kprobe's it knows nothing: there a helper reads.
 * Either gives 0 for what can't be read.
 */
#define READ(type, address, typed) ({				\
	type value_ = 0;					\
	if (typed)						\
		value_ = *(type *)(address);			\
	else							\
		bpf_probe_read_kernel(&value_, sizeof(value_), (void *)(address)); \
	value_; })

static __always_inline u32 order_of(u64 hstate, int typed)
{
	return READ(u32, hstate + HVO_HSTATE_ORDER, typed);
}

static __always_inline int node_of(u64 page, int typed)
{
#if HVO_NODES_SHIFT
	/* The node is on top of page->flags: sparsemem-vmemmap keeps no section there. */
	return READ(u64, page + HVO_PAGE_FLAGS, typed) >> (64 - HVO_NODES_SHIFT);
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

static __always_inline void missed(u8 restoring)
{
	struct hvo_block *block = block_of_cpu();

	if (!block)
		return;
	if (restoring)
		ADD(block->diag[HVO_DIAG_MISSED_RESTORE], 1);
	else
		ADD(block->diag[HVO_DIAG_MISSED_OPTIMIZE], 1);
}

static __always_inline void out_of_sight(void)
{
	struct hvo_block *block = block_of_cpu();

	if (block)
		ADD(block->diag[HVO_DIAG_MAP_ERRORS], 1);
}

static __always_inline void count_call(u32 key)
{
	struct hvo_block *block = block_of_cpu();

	if (block && key < HVO_KEYS)
		ADD(block->total[key][HVO_SLOT_OPTIMIZE_CALLS], 1);
}

static __always_inline void on_enter(u64 hstate, u64 head, u8 restoring, int typed)
{
	u64 task = bpf_get_current_pid_tgid();
	struct place *place = place_of(task);
	struct operation *op = place ? operation_at(place, task) : 0;
	u32 order = order_of(hstate, typed);
	int node = node_of(head, typed);
	int size_index = hvo_size_index(order);
	u32 key = size_index * HVO_NODES + node;
	struct report r;

	if (!place)	/* never so, but for the verifier */
		return;
	if (op && op->head == head && op->restoring == restoring) {
		op->depth++;	/* one function of the step calls another */
		return;
	}
	if (op) {	/* its exit never came: the kernel ran out of return probes */
		missed(op->restoring);
		emit_rest(op);
	}
	if (size_index < 0 || node >= HVO_NODES) {
		out_of_sight();
		if (op)
			end_operation(place, task);
		return;
	}
	if (!restoring)
		count_call(key);
	if (!op)
		op = begin_operation(place, task);
	if (!op) {
		out_of_sight();
		return;
	}
	op->head = head;
	op->key = key;
	op->ret = 0;
	op->node = node;
	op->order = order;
	op->size_index = size_index;
	op->ptes = 0;
	op->ranges = op->depth = op->head_remapped = op->first_skipped = 0;
	op->restoring = restoring;
	begin_records(op, task);
	r = report_of(op, restoring ? HVO_RESTORE_ENTER : HVO_OPTIMIZE_ENTER);
	emit(&r, op);
	op->since_ns = bpf_ktime_get_ns();
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
#if HVO_BATCHES
	struct batch *batch = batches.lookup(&pid);

	if (batch)
		batch->ptes += ptes;
#endif
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
		/* It returned at once, so the switch is as it was at the entry. */
		r->reason = reason_to_skip(op->order);
		count_skip(slots, r->reason);
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

/*
 * A function of the step returns: with the operation's result, if it `knows` it,
 * and perhaps inside another function of the step.
 */
static __always_inline void on_exit(u8 restoring, int knows, int ret)
{
	u64 task = bpf_get_current_pid_tgid();
	struct place *place = place_of(task);
	struct operation *op = place ? operation_at(place, task) : 0;
	struct hvo_block *block;
	struct report r;
	u32 key;

	if (!op || op->restoring != restoring)
		return;
	if (knows)
		op->ret = ret;
	if (op->depth) {
		op->depth--;
		return;
	}
	block = block_of_cpu();
	key = op->key;
	if (!block || key >= HVO_KEYS)
		return;
	r = report_of(op, restoring ? HVO_RESTORE_EXIT : HVO_OPTIMIZE_EXIT);
	r.duration_ns = bpf_ktime_get_ns() - op->since_ns;
	r.ret = op->ret;
	if (restoring)
		finish_restore(block, op, block->total[key], &r);
	else {
		finish_optimize(block, op, block->total[key], &r);
		worked_in_batch(task, r.ptes);
	}
	emit(&r, op);
	emit_rest(op);
	end_operation(place, task);
}

/* A function that alone knows the operation's result has returned, inside another. */
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
static __always_inline void look_at_head(struct operation *op, u64 walk, int typed)
{
#if !HVO_PTE_PROBES
	u64 page = READ(u64, walk + HVO_WALK_HEAD, typed);

	op->first_skipped = HVO_WALK_SKIPS && !page;
	op->head_remapped = !op->restoring && page;
#endif
}

static __always_inline void on_range_enter(u64 start, u64 end, u64 reuse, u64 walk, int typed)
{
	struct operation *op = current_operation();
	struct report r;

	if (!op)
		return;
	/* A second range in one optimisation is the roll-back of the first. */
	if (op->ranges++)
		return;
	op->walk = walk;
	if (walk)
		look_at_head(op, walk, typed);
#if HVO_STREAM
#if HVO_WALK_REUSE_ADDR >= 0
	if (walk)
		reuse = READ(u64, walk + HVO_WALK_REUSE_ADDR, typed);
#else
	reuse = 0;	/* Linux 7.1: vmemmap_remap_free has another third argument */
#endif
	if (op->restoring)
		return;
	r = report_of(op, HVO_REMAP_RANGE);
	r.start = start;
	r.end = end;
	r.reuse = reuse;
	emit(&r, op);
#endif
}

/* walk: where its arguments are known at the return, else 0. */
static __always_inline void on_range_exit(int ret, u64 walk, int typed)
{
	struct operation *op = current_operation();

	if (!op)
		return;
#if HVO_RANGE_ENTRIES
	if (op->ranges != 1)
		return;
#else
	if (op->ranges++)
		return;
	if (typed)
		look_at_head(op, walk, typed);
#endif
	if (!op->restoring)
		op->ret = ret;
#if !HVO_PTE_PROBES
	u64 walked;

	if (typed)
		walked = READ(u64, walk + HVO_WALK_NR_WALKED, 1);
	else
		walked = READ(u64, op->walk + HVO_WALK_NR_WALKED, 0);
	op->ptes = walked ? walked - op->first_skipped : 0;
#endif
}

static __always_inline void on_pte(u64 address, u8 kind)
{
	struct operation *op = current_operation();
	struct report r;

	/* Restored PTEs inside an optimisation belong to a roll-back. */
	if (!op || op->restoring != (kind == HVO_RESTORE_PTE))
		return;
	op->ptes++;
	if (address == op->head)
		op->head_remapped = 1;
#if HVO_STREAM
	r = report_of(op, kind);
	r.start = address;
	r.end = address + HVO_PAGE_SIZE;
	emit(&r, op);
#endif
}

static __always_inline void on_batch_enter(u64 hstate, int typed)
{
	struct hvo_block *block = block_of_cpu();
	struct batch batch = {};
	struct report r = { .kind = HVO_BATCH_ENTER, .node = -1 };
	u32 pid = bpf_get_current_pid_tgid();
	int size_index;

	batch.order = r.order = order_of(hstate, typed);
	size_index = hvo_size_index(batch.order);
	if (!block || size_index < 0)
		return;
	batch.size_index = size_index;
	emit(&r, 0);
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
	emit(&r, 0);
	batches.delete(&pid);
}

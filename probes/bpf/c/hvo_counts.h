/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Counting of dropped hits, calls, and the results of operations, which are also
 * reported to the stream.
 */

/* A running hugetlb_vmemmap_optimize_folios, which optimizes a list of huge pages. */
struct batch {
	u64 since_ns;
	u32 ptes;
	u32 stack;
	u8 order;
	u8 size_index;
};

BPF_HASH(batches, u32, struct batch, 4096);

/* End address of the huge page's struct pages; op->head is their start. */
static __always_inline u64 end_of(struct operation *op)
{
	return op->head + ((u64)HVO_STRUCT_PAGE_SIZE << op->order);
}

static __always_inline struct report report_of(struct operation *op, u8 kind)
{
	struct report r = {
		.kind = kind,
		.order = op->order,
		.node = op->node,
		.start = op->head,
		.end = end_of(op),
	};
	return r;
}

#define COUNT_DIAG(name) do {				\
	struct hvo_block *block_ = block_of_cpu();	\
	if (block_)					\
		ADD(block_->diag[name], 1);		\
} while (0)

static __always_inline void count_missed(u8 restoring)
{
	if (restoring)
		COUNT_DIAG(HVO_DIAG_MISSED_RESTORE);
	else
		COUNT_DIAG(HVO_DIAG_MISSED_OPTIMIZE);
}

static __always_inline void count_call(u32 key)
{
	struct hvo_block *block = block_of_cpu();

	/* Keep the compiler from removing the bounds check that the verifier needs. */
	asm volatile("" : "+r"(key));
	if (block && key < HVO_KEYS)
		ADD(block->total[key][HVO_SLOT_OPTIMIZE_CALLS], 1);
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

static __always_inline void count_skip(u64 *totals, u8 reason)
{
	if (reason == HVO_REASON_OFF)
		ADD(totals[HVO_SLOT_HUGEPAGES_SKIPPED_OFF], 1);
	else if (reason == HVO_REASON_UNSUPPORTED)
		ADD(totals[HVO_SLOT_HUGEPAGES_SKIPPED_UNSUPPORTED], 1);
	else if (reason == HVO_REASON_OTHER)
		ADD(totals[HVO_SLOT_HUGEPAGES_SKIPPED_OTHER], 1);
	else
		ADD(totals[HVO_SLOT_HUGEPAGES_SKIPPED_UNKNOWN], 1);
}

static __always_inline void add_to_batch(u32 pid, u32 ptes)
{
#if HVO_BATCHES
	struct batch *batch = batches.lookup(&pid);

	if (batch)
		batch->ptes += ptes;
#endif
}

static __always_inline void
finish_optimize(struct hvo_block *block, struct operation *op, u64 *totals, struct report *r)
{
	/*
	 * The walk began but did not complete, so the operation failed even if no
	 * return value was read, or the return was dropped.
	 */
	if (!r->ret && (op->rolled_back || (HVO_PTE_PROBES && op->ranges && !op->ptes)))
		r->ret = -HVO_ERRNO_UNKNOWN;
	if (r->ret == -HVO_ERRNO_UNKNOWN)
		ADD(totals[HVO_SLOT_OPTIMIZE_FAILURES_UNKNOWN], 1);
	else if (r->ret == -12)
		ADD(totals[HVO_SLOT_OPTIMIZE_FAILURES_ENOMEM], 1);
	else if (r->ret == -524)
		ADD(totals[HVO_SLOT_OPTIMIZE_FAILURES_ENOTSUPP], 1);
	else if (r->ret < 0)
		ADD(totals[HVO_SLOT_OPTIMIZE_FAILURES_OTHER], 1);
	else if (!op->ptes) {
		/* The function returned at once, so the switch is unchanged since its entry. */
		r->reason = reason_to_skip(op->order);
		count_skip(totals, r->reason);
		return;
	} else {
		/* The old frame of each remapped PTE is freed afterwards. */
		r->ptes = r->frames_freed = op->ptes;
		r->frames_allocated = op->head_remapped;
		ADD(totals[HVO_SLOT_HUGEPAGES_OPTIMIZED], 1);
		ADD(totals[HVO_SLOT_PTES_REMAPPED], r->ptes);
		ADD(totals[HVO_SLOT_FRAMES_FREED], r->frames_freed);
		ADD(totals[HVO_SLOT_FRAMES_ALLOCATED_HEAD], r->frames_allocated);
	}
	observe(block, HVO_DURATION_OPTIMIZE, op->size_index, r->duration_ns);
}

static __always_inline void
finish_restore(struct hvo_block *block, struct operation *op, u64 *totals, struct report *r)
{
	if (r->ret == -12)
		ADD(totals[HVO_SLOT_RESTORE_FAILURES_ENOMEM], 1);
	else if (r->ret < 0)
		ADD(totals[HVO_SLOT_RESTORE_FAILURES_OTHER], 1);
	else if (!op->ptes)
		return;
	else {
		r->ptes = r->frames_allocated = op->ptes;
		ADD(totals[HVO_SLOT_HUGEPAGES_RESTORED], 1);
		ADD(totals[HVO_SLOT_PTES_RESTORED], r->ptes);
		ADD(totals[HVO_SLOT_FRAMES_ALLOCATED_RESTORE], r->frames_allocated);
	}
	observe(block, HVO_DURATION_RESTORE, op->size_index, r->duration_ns);
}

static __always_inline void
finish(struct task_slot *slot, struct operation *op, u64 task, u8 restoring, u64 now)
{
	struct hvo_block *block = block_of_cpu();
	u32 key = op->key;
	struct report r;

	if (!block || key >= HVO_KEYS)
		return;
	r = report_of(op, restoring ? HVO_RESTORE_EXIT : HVO_OPTIMIZE_EXIT);
	r.duration_ns = now - op->since_ns;
	r.reuse = stack_of(op);
	r.ret = op->ret;
	if (restoring)
		finish_restore(block, op, block->total[key], &r);
	else {
		finish_optimize(block, op, block->total[key], &r);
		add_to_batch(task, r.ptes);
	}
	emit(&r, op);
	flush_records(op);
	end_operation(slot, task);
}

static __always_inline void
finish_either(struct task_slot *slot, struct operation *op, u64 task, u64 now)
{
	if (op->restoring)
		finish(slot, op, task, 1, now);
	else
		finish(slot, op, task, 0, now);
}

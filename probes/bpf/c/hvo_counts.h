/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Counting of dropped hits, calls, and the results of operations, which are also
 * reported to the stream.
 */

#if HVO_BATCHES
BPF_HASH(batches, u64, struct batch, 4096);

static __always_inline struct batch *batch_at(struct task_slot *slot, u64 task)
{
	if (slot->batch.owner == task)
		return &slot->batch;
	return slot->batch.claims ? batches.lookup(&task) : 0;
}

static __always_inline struct batch *begin_batch(struct task_slot *slot, u64 task)
{
	struct batch empty = {}, *batch = &slot->batch;

	if (claim(&batch->claims)) {
		batch->owner = task;
		return batch;
	}
	batch = batches.update(&task, &empty) ? 0 : batches.lookup(&task);
	if (!batch)
		ADD(slot->batch.claims, -1);
	return batch;
}

static __always_inline void end_batch(struct task_slot *slot, struct batch *batch, u64 task)
{
	if (batch->owner) {
		release(&batch->owner, &batch->claims);
		return;
	}
	batches.delete(&task);
	ADD(slot->batch.claims, -1);
}
#endif

/* Size of the struct pages of a huge page in bytes; op->head is their start. */
static __always_inline u64 struct_pages_size(u32 order)
{
	return (u64)HVO_STRUCT_PAGE_SIZE << order;
}

/*
 * All PTEs are done. Nothing can fail after the last one of a walk
 * (vmemmap_remap_free and vmemmap_remap_alloc, patch v17 to Linux 7.3).
 */
static __always_inline int is_done(struct operation *op)
{
#if HVO_PTE_PROBES
	return op->latest == op->head + struct_pages_size(op->order) - HVO_PAGE_SIZE &&
	       op->ptes[!!op->restoring] && !op->ptes[!op->restoring];
#else
	return op->ptes[0] && !op->ret;
#endif
}

/* A walk goes up without a gap, so the latest PTE and their number tell the first. */
static __always_inline int head_is_remapped(struct operation *op)
{
#if HVO_PTE_PROBES
	return op->latest == op->head + (u64)op->ptes[0] * HVO_PAGE_SIZE - HVO_PAGE_SIZE;
#else
	return op->walk_head != 0;
#endif
}

static __always_inline struct report report_of(struct operation *op, u8 kind)
{
	struct report r = {
		.kind = kind,
		.order = op->order,
#if HVO_STREAM
		.node = op->node,
#endif
		.start = op->head,
		.end = op->head + struct_pages_size(op->order),
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

/* A call that ends without finish(), which counts it otherwise. */
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

static __always_inline void add_to_batch(struct operation *op)
{
#if HVO_BATCHES
	u64 task = op->owner;
	struct batch *batch = &task_slot_of(task)->batch;

	if (unlikely(!task || batch->owner != task)) {
		struct task_slot *slot = slot_by_lookup();

		batch = slot ? batch_at(slot, current_task()) : 0;
	}
	if (batch)
		batch->ptes += op->ptes[0];
#endif
}

static __always_inline void count_failure(u64 *totals, int ret)
{
	if (ret == -12)
		ADD(totals[HVO_SLOT_OPTIMIZE_FAILURES_ENOMEM], 1);
	else if (ret == -524)
		ADD(totals[HVO_SLOT_OPTIMIZE_FAILURES_ENOTSUPP], 1);
	else if (ret == -HVO_ERRNO_UNKNOWN)
		ADD(totals[HVO_SLOT_OPTIMIZE_FAILURES_UNKNOWN], 1);
	else
		ADD(totals[HVO_SLOT_OPTIMIZE_FAILURES_OTHER], 1);
}

static __always_inline void
finish_optimize(struct hvo_block *block, struct operation *op, u64 *totals, struct report *r,
		int timed)
{
	int rolled_back = HVO_PTE_PROBES ? op->ptes[1] : op->rolled_back;
	u32 ptes = op->ptes[0];

	ADD(totals[HVO_SLOT_OPTIMIZE_CALLS], 1);
	if (!r->ret && ptes && !rolled_back) {
		/* The old frame of each remapped PTE is freed afterwards. */
		r->ptes = r->frames_freed = ptes;
		r->frames_allocated = head_is_remapped(op);
		ADD(totals[HVO_SLOT_HUGEPAGES_OPTIMIZED], 1);
		ADD(totals[HVO_SLOT_PTES_REMAPPED], r->ptes);
		if (r->frames_allocated)
			ADD(totals[HVO_SLOT_FRAMES_ALLOCATED_HEAD], r->frames_allocated);
		add_to_batch(op);
	} else if (!r->ret && !rolled_back && !(HVO_PTE_PROBES && op->ranges)) {
		/* The function returned at once, so the switch is unchanged since its entry. */
		r->reason = reason_to_skip(op->order);
		count_skip(totals, r->reason);
		return;
	} else {
		/*
		 * The walk began but did not complete, so the operation failed even if no
		 * return value was read, or the return was dropped.
		 */
		if (!r->ret)
			r->ret = -HVO_ERRNO_UNKNOWN;
		count_failure(totals, r->ret);
	}
	if (timed)
		observe(block, HVO_DURATION_OPTIMIZE, op->size_index, r->duration_ns);
}

static __always_inline void
finish_restore(struct hvo_block *block, struct operation *op, u64 *totals, struct report *r,
	       int timed)
{
	u32 ptes = op->ptes[PTES(1)];

	if (likely(!r->ret)) {
		if (!ptes)
			return;
		r->ptes = r->frames_allocated = ptes;
		ADD(totals[HVO_SLOT_HUGEPAGES_RESTORED], 1);
		ADD(totals[HVO_SLOT_PTES_RESTORED], r->ptes);
	} else if (r->ret == -12)
		ADD(totals[HVO_SLOT_RESTORE_FAILURES_ENOMEM], 1);
	else
		ADD(totals[HVO_SLOT_RESTORE_FAILURES_OTHER], 1);
	if (timed)
		observe(block, HVO_DURATION_RESTORE, op->size_index, r->duration_ns);
}

/* now: the time of its end, if it is to be timed and not only counted. */
static __always_inline void finish(struct operation *op, u8 restoring, u64 now, int timed)
{
	struct hvo_block *block = block_of_cpu();
	u32 key = op->key;
	struct report r;
	struct hvo_block *row;	/* its first totals are those of key */

	if (!block || key >= HVO_KEYS)
		return;
	/* Key is not needed again: if it came from the stack, the verifier would not know its bounds. */
	row = (void *)block + key * sizeof(block->total[0]);
	asm volatile("" : "+r"(row));
	r = report_of(op, restoring ? HVO_RESTORE_EXIT : HVO_OPTIMIZE_EXIT);
	r.duration_ns = now - op->since_ns;
	r.reuse = stack_of(op);
	r.ret = op->ret;
	if (restoring)
		finish_restore(block, op, row->total[0], &r, timed);
	else
		finish_optimize(block, op, row->total[0], &r, timed);
	emit(&r, op);
	flush_records(op);
	end_operation(op);
}

static __always_inline void finish_either(struct operation *op, u64 now, int timed)
{
	if (op->restoring)
		finish(op, 1, now, timed);
	else
		finish(op, 0, now, timed);
}

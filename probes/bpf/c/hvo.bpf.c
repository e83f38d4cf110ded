/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The BPF program of hvoscope: handlers of all probes, independent of the kernel
 * function and of the attach type.
 *
 * An operation (optimize or restore one huge page) runs in one task from enter
 * to exit, and its state is in the task's slot. Totals are updated at the exit,
 * so a rolled-back attempt is never counted as a saving. If the kernel drops the
 * return, the last PTE or the end of the walk replaces the exit.
 *
 * The only kernel struct used here is pt_regs, whose layout is fixed.
 * probes/bpf/program.py concatenates hvo_event.h, the definitions for this
 * kernel, hvo_operation.h, hvo_stream.h, hvo_kernel.h, hvo_counts.h, this file,
 * and an entry point for each hook. The definitions are:
 *   HVO_PAGE_SIZE, HVO_STRUCT_PAGE_SIZE       bytes
 *   HVO_HSTATE_ORDER, HVO_PAGE_FLAGS          byte offsets, from BTF or the kernel headers
 *   HVO_WALK_NR_WALKED, HVO_WALK_HEAD,
 *   HVO_WALK_REUSE_ADDR                       offsets in struct vmemmap_remap_walk; -1: not known
 *   HVO_WALK_SKIPS                            1: a walk without a page to map skips its first PTE
 *   HVO_NODES_SHIFT                           bits of the node number in page->flags
 *   HVO_PTE_PROBES                            1: probes count the PTEs, 0: the walk does
 *   HVO_KPROBES                               1: some of the probes are kprobes, 0: all are
 *                                             trampolines, whose returns are never dropped
 *   HVO_RANGE_ENTRIES                         1: entries of range functions are probed
 *   HVO_BATCHES                               1: this kernel has batches
 *   HVO_STREAM, HVO_STREAM_PAGES              1: with event stream; its size in pages
 *   HVO_STACKS                                1: the stream has kernel stacks
 *   HVO_WAKE_EVERY                            records per CPU between wakeups, a power of two
 *   HVO_ELEMENT_OF_*                          stand for addresses of maps' elements (ELEMENT)
 *   HVO_CPUS, struct hvo_block, HVO_SLOT_*,
 *   HVO_DIAG_*, HVO_DURATION_*, HVO_BUCKETS,
 *   hvo_bucket(), hvo_size_index(), HVO_NODES the counters (probes/bpf/layout.py)
 */

/*
 * The time at which all PTEs of an operation are done is read only for the stream:
 * if the return comes, as it nearly always does, only its time counts.
 */
static __always_inline void note_done(struct operation *op)
{
#if HVO_STREAM
	op->done_ns = bpf_ktime_get_ns();
#endif
}

static __always_inline u64 done_at(struct operation *op)
{
#if HVO_STREAM
	return op->done_ns;
#else
	return 0;
#endif
}

/*
 * End an operation whose return was missed. Causes that were not detected at the
 * entry: the trampoline of another return probe replaced ours, or the kernel did
 * not run a trampoline's program because another task was preempted in it
 * (recursion_misses). If the last PTE was seen, the operation is complete;
 * otherwise its result is unknown and it is not counted.
 */
static __always_inline void finish_without_return(struct operation *op)
{
	if (!op->dropped)	/* otherwise counted at the entry */
		count_missed(op->restoring);
	if (is_done(op)) {
		finish_either(op, done_at(op), HVO_STREAM);
		return;
	}
	if (!op->restoring)
		count_call(op->key);
	flush_records(op);
	end_operation(op);
}

/*
 * Entry of a function of an operation. `hook` is its number within the step;
 * function 1 calls function 0, no other nesting exists. `dropped`: the kernel
 * will drop its return. `ctx`: that of the program, for the stack.
 */
static __always_inline void
on_enter(u64 hstate, u64 head, u8 restoring, int typed, u8 hook, int dropped, void *ctx)
{
	u64 task = current_task();
	struct task_slot *slot = task_slot_of(task);
	struct operation *op;
	u32 order, size_index, node, key;
	struct report r;

	if (!setting(SETTING_ARMED))
		return;
	if (dropped)
		count_missed(restoring);
	/* Without a claim there is no operation. */
	if (unlikely(slot->operation.claims) && has_operation(&op)) {
		if (op->head == head && op->restoring == restoring && !hook && op->hook) {
			if (dropped)
				op->result_missed = 1;
			else
				op->depth++;
			return;
		}
		finish_without_return(op);	/* the previous operation's return was missed */
		task = current_task();	/* so that no register keeps them meanwhile */
		slot = slot_by_lookup();
		if (!slot)
			return;
	}
	order = order_of(hstate, typed);
	size_index = hvo_size_index(order);
	node = node_of(head, typed);
	if (size_index >= HVO_SIZES || node >= HVO_NODES) {
		COUNT_DIAG(HVO_DIAG_MAP_ERRORS);
		return;
	}
	key = size_index * HVO_NODES + node;
	op = begin_operation(slot, task);
	if (!op) {
		if (!restoring)
			count_call(key);
		COUNT_DIAG(HVO_DIAG_MAP_ERRORS);
		return;
	}
	op->head = head;
	op->key = key;
	op->order = order;
	op->size_index = size_index;
	op->ret = 0;
	op->restoring = restoring;
	op->depth = 0;
	op->hook = hook;
	op->dropped = dropped;
	/* Else the compiler makes one row of zeros of them all, in steps of two bytes. */
	asm volatile("" : : : "memory");
	op->no_ptes = op->progress = 0;
	init_records(op, task, node, ctx);
	r = report_of(op, restoring ? HVO_RESTORE_ENTER : HVO_OPTIMIZE_ENTER);
	r.reuse = stack_of(op);
	emit(&r, op);
	op->since_ns = bpf_ktime_get_ns();
	if (dropped && !restoring) {
		u8 reason = reason_to_skip(order);

		if (reason == HVO_REASON_OFF || reason == HVO_REASON_UNSUPPORTED)
			finish(op, 0, bpf_ktime_get_ns(), 1);
	}
}

/* The walk's count was not read; or the page was skipped or failed, and the result was dropped. */
static __always_inline int has_no_result(struct operation *op, u8 restoring)
{
	if (likely(op->ptes[PTES(restoring)]) || op->ret)
		return 0;
#if HVO_PTE_PROBES
	return HVO_KPROBES && op->result_missed && !op->ranges;
#else
	return op->result_missed || op->ranges > op->walked;
#endif
}

static __always_inline void on_nested_exit(struct operation *op, int has_result, int ret)
{
	if (has_result)
		op->ret = ret;
	op->depth--;
}

/*
 * Return of a function of the step, which may be nested in another one. If
 * `has_result`, `ret` is the operation's result.
 */
static __always_inline void on_exit(u8 restoring, int has_result, int ret)
{
	struct operation *op;

	if (!has_operation(&op))
		return;
	if (unlikely(op->nesting != OUTERMOST(restoring))) {
		if (op->restoring == restoring)
			on_nested_exit(op, has_result, ret);
		return;
	}
	if (has_result)
		op->ret = ret;
	if (unlikely(has_no_result(op, restoring))) {
		op->dropped = 1;
		finish_without_return(op);
		return;
	}
	finish(op, restoring, bpf_ktime_get_ns(), 1);
}

/* Entry of the nested function that alone returns the operation's result. */
static __always_inline void on_result_enter(u8 restoring, int dropped)
{
	struct operation *op = dropped ? current_operation() : 0;

	if (!op || op->restoring != restoring)
		return;
	count_missed(restoring);
	op->result_missed = 1;
}

/* Return of that function. */
static __always_inline void on_result(u8 restoring, int has_result, int ret)
{
	struct operation *op = current_operation();

	if (has_result && op && op->restoring == restoring)
		op->ret = ret;
}

/* End the task's batch, if there is one: its return was missed. */
static __always_inline void end_missed_batch(void)
{
#if HVO_BATCHES
	u64 task = current_task();
	struct task_slot *slot = task_slot_of(task);
	struct batch *batch = batch_at(slot, task);

	if (!batch)
		return;
	COUNT_DIAG(HVO_DIAG_MISSED_BATCH);
	end_batch(slot, batch, task);
#endif
}

/* A task ends: end its operation and batch whose returns were missed. */
static __always_inline void on_task_exit(void)
{
	struct operation *op = current_operation();

	if (op)
		finish_without_return(op);
	end_missed_batch();
}

/*
 * Before Linux 7.1, walk->reuse_page: NULL at the entry means that the walk takes
 * it from the first PTE and skips that; otherwise it becomes the new head (6.2).
 * Since 7.1, walk->vmemmap_head: the new head or NULL; no PTE is skipped.
 */
static __always_inline void read_walk_head(struct operation *op, u64 walk, int typed)
{
#if !HVO_PTE_PROBES
	op->walk_head = READ(u64, walk + HVO_WALK_HEAD, typed);
#endif
}

static __always_inline void
on_range_enter(u64 start, u64 end, u64 reuse, u64 walk, int typed, int dropped)
{
	struct operation *op = current_operation();
	struct report r;

	if (!op)
		return;
	if (dropped)
		COUNT_DIAG(HVO_DIAG_MISSED_REMAP_RANGE);
	/* A second range in an optimization rolls back the first. */
	if (op->ranges++) {
		op->rolled_back = !op->restoring;
		return;
	}
	if (!typed)
		op->walk = walk;
	read_walk_head(op, walk, typed);
#if HVO_STREAM
#if HVO_WALK_REUSE_ADDR >= 0
	if (walk)
		reuse = READ(u64, walk + HVO_WALK_REUSE_ADDR, typed);
#else
	reuse = 0;	/* Linux 7.1: the third argument of vmemmap_remap_free is another one */
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

/* walk: if the arguments are available at the return, else 0. has_result: 0 for a void function. */
static __always_inline void on_range_exit(int has_result, int ret, u64 walk, int typed)
{
	struct operation *op;

	if (!has_operation(&op))
		return;
#if HVO_RANGE_ENTRIES
	if (op->ranges != 1)
		return;
#elif HVO_PTE_PROBES
	op->ranges = 1;
	/* A second range rolls back the first, whose result was an error. */
	if (op->ret)
		return;
#else
	if (op->ranges++)
		return;
	if (typed)
		read_walk_head(op, walk, typed);
#endif
	if (has_result)
		op->ret = ret;
#if !HVO_PTE_PROBES
	u64 walked, skipped = HVO_WALK_SKIPS && !op->walk_head;

	op->walked = 1;
	if (typed)
		walked = READ(u64, walk + HVO_WALK_NR_WALKED, 1);
	else
		walked = READ(u64, op->walk + HVO_WALK_NR_WALKED, 0);
	op->ptes[0] = walked ? walked - skipped : 0;
	if (is_done(op))
		note_done(op);
#endif
	if (HVO_KPROBES && unlikely(op->dropped) && (op->ret < 0 || is_done(op)))
		finish_either(op, bpf_ktime_get_ns(), 1);
}

/* The last PTE, and the first of a roll-back, end an operation whose return is dropped. */
static __always_inline void on_pte_of_dropped(struct operation *op, u8 restoring)
{
	if (op->restoring != restoring)
		finish(op, 0, bpf_ktime_get_ns(), 1);
	else if (is_done(op))
		finish(op, restoring, bpf_ktime_get_ns(), 1);
}

static __always_inline void on_pte(u64 address, u8 kind)
{
	u8 restoring = kind == HVO_RESTORE_PTE;
	struct operation *op;

	if (!has_operation(&op))
		return;
	op->ptes[PTES(restoring)]++;
	op->latest = address;
#if HVO_STREAM
	if (op->restoring == restoring) {
		struct report r = report_of(op, kind);

		r.start = address;
		r.end = address + HVO_PAGE_SIZE;
		emit(&r, op);
		if (is_done(op))
			note_done(op);
	}
#endif
	if (HVO_KPROBES && unlikely(op->dropped))
		on_pte_of_dropped(op, restoring);
}

#if HVO_BATCHES
static __always_inline void on_batch_enter(u64 hstate, int typed, int dropped, void *ctx)
{
	u64 task = current_task();
	struct task_slot *slot = task_slot_of(task);
	u32 order = order_of(hstate, typed), size_index = hvo_size_index(order);
	struct report r = { .kind = HVO_BATCH_ENTER, .node = -1, .order = order };
	struct batch *batch;

	if (size_index >= HVO_SIZES || !setting(SETTING_ARMED))
		return;
	end_missed_batch();
	if (dropped) {
		COUNT_DIAG(HVO_DIAG_MISSED_BATCH);
		return;
	}
	batch = begin_batch(slot, task);
	if (!batch) {
		COUNT_DIAG(HVO_DIAG_MAP_ERRORS);
		return;
	}
	batch->ptes = 0;
	batch->order = order;
	batch->size_index = size_index;
	batch->stack = r.reuse = stack_number(ctx);
	emit(&r, 0);
	batch->since_ns = bpf_ktime_get_ns();
}

static __always_inline void on_batch_exit(void)
{
	u64 task = current_task();
	struct task_slot *slot = task_slot_of(task);
	struct batch *batch = batch_at(slot, task);
	struct hvo_block *block = block_of_cpu();
	struct report r = { .kind = HVO_BATCH_EXIT, .node = -1 };

	if (!block || !batch)
		return;
	r.order = batch->order;
	r.reuse = batch->stack;
	r.ptes = batch->ptes;
	r.duration_ns = bpf_ktime_get_ns() - batch->since_ns;
	/* No PTEs: HVO is off, or the list was empty. */
	if (r.ptes)
		observe(block, HVO_DURATION_BATCH, batch->size_index, r.duration_ns);
	emit(&r, 0);
	end_batch(slot, batch, task);
}
#endif

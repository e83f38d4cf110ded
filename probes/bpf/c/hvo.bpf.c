/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The kernel side of hvoscope: what every probe does, whichever function it
 * sits on and however it is attached.
 *
 * An operation (optimize or restore one huge page) runs in one task from enter
 * to exit. Between the two, its state lives at the task's place; the totals are
 * committed at the exit, so a rolled-back attempt never looks like a saving. Of
 * an exit that the kernel will not tell of, the last PTE takes the place, or the
 * end of the walk.
 *
 * No kernel struct is named here but pt_regs, whose layout is fixed.
 * probes/bpf/program.py puts it together: hvo_event.h, the definitions that it
 * made for this kernel, hvo_operation.h, hvo_stream.h, hvo_kernel.h,
 * hvo_counts.h, this, and an entry point for each hook. Defined are:
 *   HVO_PAGE_SIZE, HVO_STRUCT_PAGE_SIZE       bytes
 *   HVO_HSTATE_ORDER, HVO_PAGE_FLAGS          byte offsets, from BTF or the kernel's headers
 *   HVO_WALK_NR_WALKED, HVO_WALK_HEAD,
 *   HVO_WALK_REUSE_ADDR                       the same, of struct vmemmap_remap_walk; -1: not known
 *   HVO_WALK_SKIPS                            1: a walk without a page to map skips its first PTE
 *   HVO_NODES_SHIFT                           bits of the node number in page->flags
 *   HVO_PTE_PROBES                            1: PTEs are counted by probes, 0: by the walk
 *   HVO_RANGE_ENTRIES                         1: ranges are seen to begin, 0: at most to end
 *   HVO_BATCHES                               1: this kernel has batches
 *   HVO_STREAM, HVO_STREAM_PAGES              event stream wanted, and its size in pages
 *   HVO_WAKE_EVERY                            records of a CPU, a power of two
 *   HVO_CPUS, struct hvo_block, HVO_SLOT_*,
 *   HVO_DIAG_*, HVO_DURATION_*, HVO_BUCKETS,
 *   hvo_bucket(), hvo_size_index(), HVO_NODES the counters (probes/bpf/layout.py)
 */

/*
 * Its return never came, and was not known to be dropped: another return probe's
 * trampoline stood in the place of ours, or the kernel did not run the program
 * of a trampoline in which another task was preempted (recursion_misses). With
 * its last PTE it was done; without, whether it did anything can't be told.
 */
static __always_inline void give_up(struct place *place, struct operation *op, u64 task)
{
	if (!op->dropped)	/* else it was counted when it began */
		missed(op->restoring);
	if (op->done_ns) {
		finish_either(place, op, task, op->done_ns);
		return;
	}
	emit_rest(op);
	end_operation(place, task);
}

/*
 * A function of an operation begins. `hook` is its number among those of the
 * step: 1 is the only one that calls another, 0. `dropped`: its return will not
 * be seen.
 */
static __always_inline void
on_enter(u64 hstate, u64 head, u8 restoring, int typed, u8 hook, int dropped)
{
	u64 task = bpf_get_current_pid_tgid();
	struct place *place = place_of(task);
	struct operation *op = place ? operation_at(place, task) : 0;
	u32 order = order_of(hstate, typed);
	int node = node_of(head, typed);
	int size_index = hvo_size_index(order);
	u32 key = size_index * HVO_NODES + node;
	u8 reason;
	struct report r;

	if (!place || !setting(SETTING_ARMED))
		return;
	if (dropped)
		missed(restoring);
	if (op && op->head == head && op->restoring == restoring && !hook && op->hook) {
		if (dropped)
			op->untold = 1;
		else
			op->depth++;
		return;
	}
	if (op)	/* its end never came */
		give_up(place, op, task);
	if (size_index < 0 || node >= HVO_NODES) {
		COUNT_DIAG(HVO_DIAG_MAP_ERRORS);
		return;
	}
	if (!restoring)
		count_call(key);
	op = begin_operation(place, task);
	if (!op) {
		COUNT_DIAG(HVO_DIAG_MAP_ERRORS);
		return;
	}
	op->done_ns = 0;
	op->head = head;
	op->key = key;
	op->ret = 0;
	op->node = node;
	op->order = order;
	op->size_index = size_index;
	op->ptes = 0;
	op->ranges = op->depth = op->head_remapped = op->first_skipped = 0;
	op->rolled_back = op->walked = op->untold = 0;
	op->restoring = restoring;
	op->hook = hook;
	op->dropped = dropped;
	begin_records(op, task);
	r = report_of(op, restoring ? HVO_RESTORE_ENTER : HVO_OPTIMIZE_ENTER);
	emit(&r, op);
	op->since_ns = bpf_ktime_get_ns();
	if (dropped && !restoring) {
		reason = reason_to_skip(order);
		if (reason == HVO_REASON_OFF || reason == HVO_REASON_UNSUPPORTED)
			finish(place, op, task, 0, bpf_ktime_get_ns());
	}
}

/* The walk's count was not read; or the page was skipped or failed, and which was not told. */
static __always_inline int has_no_result(struct operation *op)
{
	if (op->ret || op->ptes)
		return 0;
#if HVO_PTE_PROBES
	return op->untold && !op->ranges;
#else
	return op->untold || op->ranges > op->walked;
#endif
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

	if (!op || op->restoring != restoring)
		return;
	if (knows)
		op->ret = ret;
	if (op->depth) {
		op->depth--;
		return;
	}
	if (has_no_result(op)) {
		op->dropped = 1;
		give_up(place, op, task);
		return;
	}
	finish(place, op, task, restoring, bpf_ktime_get_ns());
}

/* A function that alone knows the operation's result has begun, inside another. */
static __always_inline void on_result_enter(u8 restoring, int dropped)
{
	struct operation *op = dropped ? current_operation() : 0;

	if (!op || op->restoring != restoring)
		return;
	missed(restoring);
	op->untold = 1;
}

/* It has returned. */
static __always_inline void on_result(u8 restoring, int knows, int ret)
{
	struct operation *op = current_operation();

	if (knows && op && op->restoring == restoring)
		op->ret = ret;
}

/* A task ends, and so does what it left: an operation whose end never came. */
static __always_inline void on_task_exit(void)
{
	u64 task = bpf_get_current_pid_tgid();
	struct place *place = place_of(task);
	struct operation *op = place ? operation_at(place, task) : 0;
	u32 pid = task;

	if (op)
		give_up(place, op, task);
	if (HVO_BATCHES && batches.lookup(&pid)) {
		COUNT_DIAG(HVO_DIAG_MISSED_BATCH);
		batches.delete(&pid);
	}
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

static __always_inline void
on_range_enter(u64 start, u64 end, u64 reuse, u64 walk, int typed, int dropped)
{
	struct operation *op = current_operation();
	struct report r;

	if (!op)
		return;
	if (dropped)
		COUNT_DIAG(HVO_DIAG_MISSED_REMAP_RANGE);
	/* A second range in one optimization is the roll-back of the first. */
	if (op->ranges++) {
		op->rolled_back = !op->restoring;
		return;
	}
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

/* walk: where its arguments are known at the return, else 0. A void function `knows` no ret. */
static __always_inline void on_range_exit(int knows, int ret, u64 walk, int typed)
{
	u64 task = bpf_get_current_pid_tgid();
	struct place *place = place_of(task);
	struct operation *op = place ? operation_at(place, task) : 0;

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
	op->walked = 1;
	if (knows && !op->restoring)
		op->ret = ret;
#if !HVO_PTE_PROBES
	u64 walked;

	if (typed)
		walked = READ(u64, walk + HVO_WALK_NR_WALKED, 1);
	else
		walked = READ(u64, op->walk + HVO_WALK_NR_WALKED, 0);
	op->ptes = walked ? walked - op->first_skipped : 0;
	if (op->ptes && !op->ret)
		op->done_ns = bpf_ktime_get_ns();
#endif
	if (op->dropped && op->ret < 0)
		finish(place, op, task, 0, bpf_ktime_get_ns());
	else if (op->dropped && op->done_ns)
		finish_either(place, op, task, op->done_ns);
}

/*
 * Nothing can fail after the last PTE of a walk (vmemmap_remap_free and
 * vmemmap_remap_alloc, v17 to 7.3), and a PTE that is restored in an
 * optimization belongs to its roll-back: either is an end, where the return is
 * not seen.
 */
static __always_inline void on_pte(u64 address, u8 kind)
{
	u64 task = bpf_get_current_pid_tgid();
	struct place *place = place_of(task);
	struct operation *op = place ? operation_at(place, task) : 0;

	if (!op)
		return;
	if (op->restoring != (kind == HVO_RESTORE_PTE)) {
		op->rolled_back = 1;
		if (op->dropped)
			finish(place, op, task, 0, bpf_ktime_get_ns());
		return;
	}
	op->ptes++;
	if (address == op->head)
		op->head_remapped = 1;
#if HVO_STREAM
	struct report r = report_of(op, kind);

	r.start = address;
	r.end = address + HVO_PAGE_SIZE;
	emit(&r, op);
#endif
	if (address + HVO_PAGE_SIZE != end_of(op))
		return;
	op->done_ns = bpf_ktime_get_ns();
	if (op->dropped)
		finish(place, op, task, kind == HVO_RESTORE_PTE, op->done_ns);
}

static __always_inline void on_batch_enter(u64 hstate, int typed, int dropped)
{
	struct hvo_block *block = block_of_cpu();
	struct batch batch = {};
	struct report r = { .kind = HVO_BATCH_ENTER, .node = -1 };
	u32 pid = bpf_get_current_pid_tgid();
	int size_index;

	batch.order = r.order = order_of(hstate, typed);
	size_index = hvo_size_index(batch.order);
	if (!block || size_index < 0 || !setting(SETTING_ARMED))
		return;
	if (dropped || batches.lookup(&pid))	/* the last one's return never came */
		ADD(block->diag[HVO_DIAG_MISSED_BATCH], 1);
	if (dropped)
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

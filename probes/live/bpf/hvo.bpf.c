/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The kernel side of hvoscope: what every probe does, whichever function it
 * sits on and however it is attached.
 *
 * An operation (optimise or restore one huge page) runs in one task from enter
 * to exit. Between the two, its state lives at the task's place; the totals are
 * committed at the exit, so a rolled-back attempt never looks like a saving. Of
 * an exit that the kernel will not tell of, the last PTE takes the place, or the
 * end of the walk.
 *
 * No kernel struct is named here but pt_regs, whose layout is fixed.
 * probes/live/program.py puts it together: hvo_event.h, the definitions that it
 * made for this kernel, hvo_operation.h, hvo_stream.h, this, and an entry point
 * for each hook. Defined are:
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
 *   hvo_bucket(), hvo_size_index(), HVO_NODES the counters (probes/live/layout.py)
 */

/* A list of huge pages on its way through hugetlb_vmemmap_optimize_folios. */
struct batch {
	u64 since_ns;
	u32 ptes;
	u8 order;
	u8 size_index;
};

BPF_HASH(batches, u32, struct batch, 4096);

/*
 * What the loader sets (probes/live/program.py, Setting). Addresses move with
 * every boot and this text does not; 0 is an address that is not known.
 */
enum { SETTING_SWITCH, SETTING_RETURN_TRAMPOLINE, SETTING_ARMED, SETTINGS };
BPF_ARRAY(settings, u64, SETTINGS);

static __always_inline u64 setting(int which)
{
	u64 *value = settings.lookup(&which);

	return value ? *value : 0;
}

/* Of the struct pages that describe the huge page; an address, like its head. */
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

/*
 * More than one frame of struct pages, none of them across two (hugetlb_vmemmap.h,
 * hugetlb_vmemmap_optimizable_size). Of the sizes that there are the same can be
 * optimised where two frames are reserved, before Linux 5.18.
 */
static __always_inline int can_be_optimized(u32 order)
{
	u64 size = HVO_STRUCT_PAGE_SIZE;

	return !(size & (size - 1)) && size << order > HVO_PAGE_SIZE;
}

/* In the kernel's own order: the switch first (vmemmap_should_optimize). */
static __always_inline u8 reason_to_skip(u32 order)
{
	u8 on = 0;
	u64 address = setting(SETTING_SWITCH);
	int known = address && !bpf_probe_read_kernel(&on, sizeof(on), (void *)address);

	if (known && !on)
		return HVO_REASON_OFF;
	if (!can_be_optimized(order))
		return HVO_REASON_UNSUPPORTED;
	return known ? HVO_REASON_OTHER : HVO_REASON_UNKNOWN;
}

/*
 * Whether the kernel will not tell of this function's return: it had no return
 * probe left (max(10, 2 * CPUs) at once, and the functions sleep). It has put
 * its trampoline in the place of the return address where it had one, before
 * this probe: of the probes at one address, the one that was registered last
 * runs first (kernel/kprobes.c, add_new_kprobe).
 */
static __always_inline int return_dropped(struct pt_regs *ctx)
{
	u64 trampoline = setting(SETTING_RETURN_TRAMPOLINE), address = 0;

	if (!trampoline)
		return 0;
#ifdef CONFIG_X86	/* on the stack; elsewhere in a register */
	bpf_probe_read_kernel(&address, sizeof(address), (void *)PT_REGS_RET(ctx));
#else
	address = PT_REGS_RET(ctx);
#endif
	return address != trampoline;
}

#define COUNT_DIAG(name) do {				\
	struct hvo_block *block_ = block_of_cpu();	\
	if (block_)					\
		ADD(block_->diag[name], 1);		\
} while (0)

static __always_inline void missed(u8 restoring)
{
	if (restoring)
		COUNT_DIAG(HVO_DIAG_MISSED_RESTORE);
	else
		COUNT_DIAG(HVO_DIAG_MISSED_OPTIMIZE);
}

static __always_inline void count_call(u32 key)
{
	struct hvo_block *block = block_of_cpu();

	/* The compiler knows that it is in bounds; the verifier must be shown. */
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
	/*
	 * The walk began, and did not get to its end. Where no return value told
	 * why, it failed all the same: none was read, or its return was dropped.
	 */
	if (!r->ret && (op->rolled_back || (HVO_PTE_PROBES && op->ranges && !op->ptes)))
		r->ret = -HVO_ERRNO_UNKNOWN;
	if (r->ret == -HVO_ERRNO_UNKNOWN)
		ADD(slots[HVO_SLOT_OPTIMIZE_FAILURES_UNKNOWN], 1);
	else if (r->ret == -12)
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

static __always_inline void
finish(struct place *place, struct operation *op, u64 task, u8 restoring, u64 now)
{
	struct hvo_block *block = block_of_cpu();
	u32 key = op->key;
	struct report r;

	if (!block || key >= HVO_KEYS)
		return;
	r = report_of(op, restoring ? HVO_RESTORE_EXIT : HVO_OPTIMIZE_EXIT);
	r.duration_ns = now - op->since_ns;
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

static __always_inline void
finish_either(struct place *place, struct operation *op, u64 task, u64 now)
{
	if (op->restoring)
		finish(place, op, task, 1, now);
	else
		finish(place, op, task, 0, now);
}

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
	/* A second range in one optimisation is the roll-back of the first. */
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
 * optimisation belongs to its roll-back: either is an end, where the return is
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

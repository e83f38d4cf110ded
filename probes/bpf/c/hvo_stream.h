/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Output of the event stream: reports become records, which are batched per
 * operation and written to the ring buffer. Without HVO_STREAM this does nothing.
 */

struct report {
	u8 kind, order, reason;
	short node;
	u64 start, end, reuse, duration_ns;
	int ret;
	u32 ptes, frames_freed, frames_allocated;
};

#if HVO_STREAM
BPF_RINGBUF_OUTPUT(events, HVO_STREAM_PAGES);

/*
 * Buffered records of the operation in the task slot with the same index. One
 * ring buffer entry for many records is cheaper than one entry per record.
 */
#define HVO_RECORD_BATCH 16
struct record_batch {
	struct hvo_event record[HVO_RECORD_BATCH];
};
BPF_ARRAY(record_batches, struct record_batch, HVO_TASK_SLOTS);

#if HVO_STACKS
/* Innermost return addresses of kernel stacks. A stack keeps its entry for good. */
struct hvo_stack {
	u64 ip[64];
};
BPF_TABLE("stacktrace", int, struct hvo_stack, stacks, 16384);
#endif

static __always_inline u64 lost_by_cpu(void)
{
	struct hvo_block *block = block_of_cpu();

	return block ? block->diag[HVO_DIAG_STREAM_LOST] : 0;
}

/*
 * `sequence` is the number of records that the CPU had lost before. The reader
 * replaces it by the sequence number (probes/live/numbering.py). The program
 * can't number records itself, because a trampoline leaves preemption on.
 */
static __always_inline void fill(struct hvo_event *event, struct report *r, struct operation *op)
{
	u32 cpu = bpf_get_smp_processor_id();
	u64 task;

	event->timestamp_ns = bpf_ktime_get_ns();
	event->start = r->start;
	event->end = r->end;
	event->reuse = r->reuse;
	event->duration_ns = r->duration_ns;
	event->ret = r->ret;
	event->ptes = r->ptes;
	event->frames_freed = r->frames_freed;
	event->frames_allocated = r->frames_allocated;
	event->cpu = cpu;
	event->node = r->node;
	event->kind = r->kind;
	event->order = r->order;
	event->reason = r->reason;
	event->version = HVO_STACKS ? HVO_EVENT_STACKS : HVO_EVENT_VERSION;
	if (op) {
		task = op->task;
		if (op->cpu != cpu) {
			op->cpu = cpu;
			op->lost = lost_by_cpu();
		}
		event->sequence = op->lost;
		__builtin_memcpy(&event->comm, op->comm, sizeof(event->comm));
	} else {
		task = bpf_get_current_pid_tgid();
		event->sequence = lost_by_cpu();
		bpf_get_current_comm(&event->comm, sizeof(event->comm));
	}
	event->pid = (u32)task;
	event->tgid = task >> 32;
}

/*
 * Waking the reader costs more than reading. The reader polls ten times a second
 * and is woken only every HVO_WAKE_EVERY records. (BCC 0.26 can't query how full
 * the ring buffer is.)
 */
static __always_inline void send(void *records, u32 count)
{
	struct hvo_block *block = block_of_cpu();
	u64 sent, wake;

	if (!block)
		return;
	sent = block->diag[HVO_DIAG_STREAM_SENT];
	wake = (sent ^ (sent + count)) >= HVO_WAKE_EVERY ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP;
	ADD(block->diag[HVO_DIAG_STREAM_SENT], count);
	if (events.ringbuf_output(records, count * sizeof(struct hvo_event), wake))
		ADD(block->diag[HVO_DIAG_STREAM_LOST], count);
}

static __always_inline struct record_batch *record_batch_of(struct operation *op)
{
	return op->owner ? record_batches.lookup(&op->batch) : 0;
}

static __always_inline void send_record_batch(struct operation *op)
{
	struct record_batch *batch = record_batch_of(op);
	u32 count = op->records;

	if (!batch || !count || count > HVO_RECORD_BATCH)
		return;
	send(batch, count);
	op->records = 0;
	op->cpu = HVO_CPUS;	/* no CPU, so that `lost` is read again */
}
#endif

/*
 * Number of the current kernel stack, from 1; 0 if there is none, because another
 * stack has its entry or the kernel can't walk it. ctx: that of the program.
 */
static __always_inline u32 stack_number(void *ctx)
{
#if HVO_STREAM && HVO_STACKS
	int id = stacks.get_stackid(ctx, 0);

	return id < 0 ? 0 : id + 1;
#else
	return 0;
#endif
}

static __always_inline u32 stack_of(struct operation *op)
{
#if HVO_STREAM
	return op->stack;
#else
	return 0;
#endif
}

/* Set what is the same for all records of an operation. */
static __always_inline void init_records(struct operation *op, u64 task, short node, void *ctx)
{
#if HVO_STREAM
	op->batch = slot_number(task);
	op->task = bpf_get_current_pid_tgid();
	op->node = node;
	op->stack = stack_number(ctx);
	op->cpu = HVO_CPUS;
	bpf_get_current_comm(&op->comm, sizeof(op->comm));
#endif
}

/* Add a record to the operation's batch; without a batch, send it alone. */
static __always_inline void emit(struct report *r, struct operation *op)
{
#if HVO_STREAM
	struct record_batch *batch = op ? record_batch_of(op) : 0;
	struct hvo_event single;

	if (!batch) {
		fill(&single, r, op);
		send(&single, 1);
		return;
	}
	fill(&batch->record[op->records % HVO_RECORD_BATCH], r, op);
	if (++op->records == HVO_RECORD_BATCH)
		send_record_batch(op);
#endif
}

/* Send the remaining records of an operation that has ended. */
static __always_inline void flush_records(struct operation *op)
{
#if HVO_STREAM
	send_record_batch(op);
#endif
}

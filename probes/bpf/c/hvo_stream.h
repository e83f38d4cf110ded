/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The event stream's way out: what a probe reports becomes a record, gathered
 * with others of its operation and handed to the reader. Without HVO_STREAM
 * nothing is done.
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
 * Records of the operation at the place of the same number, on their way into
 * the ring: one entry for many is cheaper than an entry for each.
 */
#define HVO_PARCEL 16
struct parcel {
	struct hvo_event record[HVO_PARCEL];
};
BPF_ARRAY(parcels, struct parcel, HVO_PLACES);

static __always_inline u64 lost_by_cpu(void)
{
	struct hvo_block *block = block_of_cpu();

	return block ? block->diag[HVO_DIAG_STREAM_LOST] : 0;
}

/*
 * Its sequence is the number of records that its CPU had lost: the reader makes
 * the number of it (probes/live/numbering.py). No CPU could count up for sure
 * under a trampoline, which leaves preemption on.
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
	event->version = HVO_EVENT_VERSION;
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
 * A reader that is woken costs more than what it reads: it looks by itself ten
 * times a second, and is woken only where much has come before that. (BCC 0.26
 * has no way to ask the ring how full it is.)
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

static __always_inline struct parcel *parcel_of(struct operation *op)
{
	u32 index = op->task % HVO_PLACES;

	return op->owner ? parcels.lookup(&index) : 0;
}

static __always_inline void send_parcel(struct operation *op)
{
	struct parcel *parcel = parcel_of(op);
	u32 count = op->records;

	if (!parcel || !count || count > HVO_PARCEL)
		return;
	send(parcel, count);
	op->records = 0;
	op->cpu = HVO_CPUS;	/* none: to be looked at again */
}
#endif

/* An operation begins: what is the same for all of its records. */
static __always_inline void begin_records(struct operation *op, u64 task)
{
#if HVO_STREAM
	op->task = task;
	op->cpu = HVO_CPUS;
	bpf_get_current_comm(&op->comm, sizeof(op->comm));
#endif
}

/* Into the parcel of the operation; without one, on its own. */
static __always_inline void emit(struct report *r, struct operation *op)
{
#if HVO_STREAM
	struct parcel *parcel = op ? parcel_of(op) : 0;
	struct hvo_event single;

	if (!parcel) {
		fill(&single, r, op);
		send(&single, 1);
		return;
	}
	fill(&parcel->record[op->records % HVO_PARCEL], r, op);
	if (++op->records == HVO_PARCEL)
		send_parcel(op);
#endif
}

/* What is left in the parcel of an operation that has ended. */
static __always_inline void emit_rest(struct operation *op)
{
#if HVO_STREAM
	send_parcel(op);
#endif
}

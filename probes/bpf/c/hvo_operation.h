/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Per-CPU counters, and the state of an operation between its enter and its
 * exit, with the lookup by task.
 */
#include <uapi/linux/ptrace.h>

/* One block of counters per CPU. */
BPF_F_TABLE("array", int, struct hvo_block, counters, HVO_CPUS, BPF_F_MMAPABLE);

/*
 * Atomic although each block belongs to one CPU: a trampoline (fentry) leaves
 * preemption on, so two tasks of one CPU can update the same counter.
 */
#define ADD(field, n) __sync_fetch_and_add(&(field), (n))

/*
 * The only element of an array map. The loader replaces the number HVO_ELEMENT_OF_*
 * by the element's address (probes/bpf/object_code.py): a third of the
 * instructions of a lookup, and it can't fail.
 */
#ifndef ELEMENT
#define ELEMENT(type, map) ({				\
	u64 address_ = HVO_ELEMENT_OF_##map;		\
	asm volatile("" : "+r"(address_));		\
	(type *)address_; })
#endif

static __always_inline struct hvo_block *block_of_cpu(void)
{
	int cpu = bpf_get_smp_processor_id();

	return counters.lookup(&cpu);
}

#ifndef unlikely
#define likely(condition) __builtin_expect(!!(condition), 1)
#define unlikely(condition) __builtin_expect(!!(condition), 0)
#endif

struct operation {
	u64 claims;	/* of a task slot: the running operations of its tasks */
	u64 owner;	/* its task, the only one that writes to it; 0 in the hash */
	u64 since_ns;
	u64 head;
	u64 latest;	/* address of its latest PTE's frame of struct pages, if it has one */
	u64 walk;
	u64 walk_head;	/* see read_walk_head; probed PTEs tell themselves */
	u32 key;
	u8 order;
	u8 size_index;
	/* Set together. */
	struct {
		int ret;	/* of the range function, until a function with the result returns */
		union {
			struct {
				u8 restoring;
				u8 depth;	/* of nested functions it is in */
			};
			u16 nesting;
		};
		u8 hook;	/* number, within the step, of the function that began the operation */
		u8 dropped;	/* the return that ends it was, or will be, dropped */
	};
	union {
		u32 ptes[2];	/* PTES(restoring) */
		u64 no_ptes;
	};
	union {
		struct {
			u8 ranges;
			u8 rolled_back;
			u8 walked;	/* the return of its range function was seen */
			u8 result_missed;	/* the return that has the result was dropped */
		};
		u64 progress;
	};
#if HVO_STREAM
	u64 done_ns;	/* when its last PTE or its walk was done */
	short node;
	u32 records;	/* in its record batch */
	u32 cpu;	/* of its last record */
	u32 stack;	/* number of the stack at its entry */
	u64 lost;	/* lost records of that CPU, when last read */
	u32 batch;	/* number of its record batch, and of its slot */
	u64 task;	/* bpf_get_current_pid_tgid() */
	u64 comm[2];	/* read once for all of its records */
#endif
};

/*
 * Index of the PTEs of one direction. Probed PTEs count for what they are, so that
 * none of them has to ask what the operation is: those of the other direction are of
 * a roll-back. A walk counts only its own.
 */
#define PTES(restoring) (HVO_PTE_PROBES && (restoring))

/* The nesting of an operation of this direction in the function that began it. */
#define OUTERMOST(restoring_) ((struct operation){ .restoring = (restoring_) }.nesting)

/* A running hugetlb_vmemmap_optimize_folios, which optimizes a list of huge pages. */
struct batch {
	u64 claims, owner;	/* as those of an operation */
	u64 since_ns;
	u32 ptes;
	u32 stack;
	u8 order;
	u8 size_index;
};

/*
 * Shared by all tasks whose addresses have the same middle bits: a place for one
 * operation and one batch. Others are in the hashes. Aligned to a power of two, so
 * that no multiplication finds it.
 */
struct task_slot {
	struct operation operation;
#if HVO_BATCHES
	struct batch batch;
#endif
} __attribute__((aligned(128)));

#define HVO_TASK_SLOTS 1024

struct task_slots {
	struct task_slot of[HVO_TASK_SLOTS];
};

/*
 * A task's slot is found without a helper call. A second task that uses the
 * same slot at the same time uses the hash. When the hash has 4096 operations,
 * further ones are dropped and counted (map_errors).
 */
BPF_ARRAY(task_slots, struct task_slots, 1);
BPF_HASH(operations, u64, struct operation, 4096);

/* Address of its task_struct: cheaper to get than the thread id, and as unique until it exits. */
static __always_inline u64 current_task(void)
{
	return (u64)bpf_get_current_task();
}

/* A task_struct takes 8 KiB or a bit more. */
static __always_inline u32 slot_number(u64 task)
{
	return (task >> 13) % HVO_TASK_SLOTS;
}

static __always_inline struct task_slot *task_slot_of(u64 task)
{
	return &ELEMENT(struct task_slots, task_slots)->of[slot_number(task)];
}

/* The same, where it is rarely needed: LLVM would load the address of ELEMENT in any case. */
static __always_inline struct task_slot *slot_by_lookup(void)
{
	int first = 0;
	struct task_slots *slots = task_slots.lookup(&first);

	return slots ? &slots->of[slot_number(current_task())] : 0;
}

/*
 * Asks for the task again, so that no register keeps it on the way that is nearly
 * always taken.
 */
static __always_inline struct operation *operation_in_hash(struct task_slot *slot)
{
	u64 task;

	if (!slot->operation.claims)
		return 0;
	task = current_task();
	return operations.lookup(&task);
}

/*
 * Assign in an instruction of its own: what a call returned would else keep r0 to
 * itself on the way without the call, too, and the task be moved out of it.
 */
#ifndef MOVE
#define MOVE(to, from) asm volatile("%0 = %1" : "=&r"(to) : "r"(from))
#endif

/*
 * Whether the task has an operation, which then is *op. A pointer alone would be
 * compared with NULL on the way that is nearly always taken, too.
 */
static __always_inline int has_operation(struct operation **op)
{
	u64 task = current_task();
	struct task_slot *slot = task_slot_of(task);
	struct operation *found;

	*op = &slot->operation;
	if ((*op)->owner == task)
		return 1;
	found = operation_in_hash(slot);
	MOVE(*op, found);
	return *op != 0;
}

static __always_inline struct operation *current_operation(void)
{
	struct operation *op;

	return has_operation(&op) ? op : 0;
}

static __always_inline struct operation *begin_in_hash(void)
{
	struct operation empty = {};
	u64 task = current_task();

	return operations.update(&task, &empty) ? 0 : operations.lookup(&task);
}

/*
 * A task claims a place in the slot by incrementing first and reading afterwards.
 * Of two tasks that increment, the second one reads at least 2, so at most one
 * task reads 1 and takes the place. If both read 2, both use the hash.
 * (Compare-and-swap would be clearer, but BCC's LLVM does not support it for BPF.)
 */
static __always_inline int claim(u64 *claims)
{
	ADD(*claims, 1);
#ifdef CONFIG_X86	/* release() relies on ordered stores */
	return *(volatile u64 *)claims == 1;
#else
	return 0;
#endif
}

static __always_inline void release(u64 *owner, u64 *claims)
{
	*(volatile u64 *)owner = 0;
	ADD(*claims, -1);
}

static __always_inline struct operation *begin_operation(struct task_slot *slot, u64 task)
{
	struct operation *op = &slot->operation;

	if (claim(&op->claims)) {
		op->owner = task;
		return op;
	}
	op = begin_in_hash();
	if (!op)
		ADD(slot->operation.claims, -1);
	return op;
}

static __always_inline void end_operation(struct operation *op)
{
	if (unlikely(!op->owner)) {
		struct task_slot *slot = slot_by_lookup();
		u64 task = current_task();

		operations.delete(&task);
		if (slot)
			ADD(slot->operation.claims, -1);
		return;
	}
	release(&op->owner, &op->claims);
}

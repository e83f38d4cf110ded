/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where an operation lives from its enter to its exit, and how the task that
 * runs it finds it; and before that the counters, which are the CPU's.
 */
#include <uapi/linux/ptrace.h>

/* One block of counters per CPU: nothing is shared, so nothing is lost. */
BPF_F_TABLE("array", int, struct hvo_block, counters, HVO_CPUS, BPF_F_MMAPABLE);

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

struct operation {
	u64 owner;	/* owner_of() the task whose it is, which alone writes to it; 0 in the hash */
	u64 since_ns;
	u64 done_ns;	/* when its last PTE, or its walk, was done; 0 before */
	u64 head;
	u64 walk;
	u32 key;
	int ret;	/* of the range function, until a function that knows better returns */
	short node;
	u8 order;
	u8 size_index;
	u32 ptes;
	u8 ranges;
	u8 depth;
	u8 head_remapped;
	u8 first_skipped;
	u8 restoring;
	u8 hook;	/* number of the function that began it, among those of the step */
	u8 rolled_back;
	u8 walked;	/* its range was seen to end */
	u8 untold;	/* the return that knows the result was dropped */
	u8 dropped;	/* and so was the one that ends it */
#if HVO_STREAM
	u32 records;	/* in its parcel */
	u32 cpu;	/* of its last record */
	u64 lost;	/* records of that CPU, when it was last looked at */
	u64 task;	/* bpf_get_current_pid_tgid() */
	u64 comm[2];	/* read once for all of its records */
#endif
};

/* Where the operations of all tasks with the same last bits of their number run. */
struct place {
	u64 claims;	/* tasks at work here: the first in `operation`, others in `operations` */
	struct operation operation;
};

#define HVO_PLACES 1024

/*
 * By thread. The place is found without a call; a second task at the same place
 * at the same time goes by the hash, 4096 of which at once are out of sight.
 */
BPF_ARRAY(places, struct place, HVO_PLACES);
BPF_HASH(operations, u32, struct operation, 4096);

static __always_inline u64 owner_of(u64 task)
{
	return task + 1;	/* nobody is 0, and so is the idle task */
}

/* task: as bpf_get_current_pid_tgid() has it, the thread's number below */
static __always_inline struct place *place_of(u64 task)
{
	u32 index = task % HVO_PLACES;

	return places.lookup(&index);
}

static __always_inline struct operation *operation_at(struct place *place, u64 task)
{
	u32 pid = task;

	if (place->operation.owner == owner_of(task))
		return &place->operation;
	return place->claims ? operations.lookup(&pid) : 0;
}

static __always_inline struct operation *current_operation(void)
{
	u64 task = bpf_get_current_pid_tgid();
	struct place *place = place_of(task);

	return place ? operation_at(place, task) : 0;
}

static __always_inline struct operation *begin_in_hash(u32 pid)
{
	struct operation empty = {};

	return operations.update(&pid, &empty) ? 0 : operations.lookup(&pid);
}

/*
 * Adding before looking makes the claim: of two tasks that add, the one that
 * comes second in the order of the word's values sees both, so that no two ever
 * see 1. (Compare-and-swap would say it better; BCC's LLVM has none for BPF.)
 * When both see 2, both go by the hash.
 */
static __always_inline struct operation *begin_operation(struct place *place, u64 task)
{
	struct operation *op;

	ADD(place->claims, 1);
#ifdef CONFIG_X86	/* release: stores are seen in order here, and only here for sure */
	if (*(volatile u64 *)&place->claims == 1) {
		place->operation.owner = owner_of(task);
		return &place->operation;
	}
#endif
	op = begin_in_hash(task);
	if (!op)
		ADD(place->claims, -1);
	return op;
}

static __always_inline void end_operation(struct place *place, u64 task)
{
	u32 pid = task;

	if (place->operation.owner == owner_of(task))
		*(volatile u64 *)&place->operation.owner = 0;
	else
		operations.delete(&pid);
	ADD(place->claims, -1);
}

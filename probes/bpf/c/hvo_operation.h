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

static __always_inline struct hvo_block *block_of_cpu(void)
{
	int cpu = bpf_get_smp_processor_id();

	return counters.lookup(&cpu);
}

struct operation {
	u64 owner;	/* owner_of() its task, the only one that writes to it; 0 in the hash */
	u64 since_ns;
	u64 done_ns;	/* when its last PTE or its walk was done; 0 before */
	u64 head;
	u64 walk;
	u32 key;
	int ret;	/* of the range function, until a function with the operation's result returns */
	short node;
	u8 order;
	u8 size_index;
	u32 ptes;
	u8 ranges;
	u8 depth;
	u8 head_remapped;
	u8 first_skipped;
	u8 restoring;
	u8 hook;	/* number, within the step, of the function that began the operation */
	u8 rolled_back;
	u8 walked;	/* the return of its range function was seen */
	u8 result_missed;	/* the return that has the result was dropped */
	u8 dropped;	/* the return that ends the operation was, or will be, dropped */
#if HVO_STREAM
	u32 records;	/* in its record batch */
	u32 cpu;	/* of its last record */
	u32 stack;	/* number of the stack at its entry */
	u64 lost;	/* lost records of that CPU, when last read */
	u64 task;	/* bpf_get_current_pid_tgid() */
	u64 comm[2];	/* read once for all of its records */
#endif
};

/* Shared by all tasks whose thread id has the same low bits. */
struct task_slot {
	u64 claims;	/* running operations: the first in `operation`, others in `operations` */
	struct operation operation;
};

#define HVO_TASK_SLOTS 1024

/*
 * A task's slot is found without a helper call. A second task that uses the
 * same slot at the same time uses the hash. When the hash has 4096 operations,
 * further ones are dropped and counted (map_errors).
 */
BPF_ARRAY(task_slots, struct task_slot, HVO_TASK_SLOTS);
BPF_HASH(operations, u32, struct operation, 4096);

static __always_inline u64 owner_of(u64 task)
{
	return task + 1;	/* 0 means no owner, but is also the id of the idle task */
}

/* task: bpf_get_current_pid_tgid(), with the thread id in the lower half */
static __always_inline struct task_slot *task_slot_of(u64 task)
{
	u32 index = task % HVO_TASK_SLOTS;

	return task_slots.lookup(&index);
}

static __always_inline struct operation *operation_at(struct task_slot *slot, u64 task)
{
	u32 pid = task;

	if (slot->operation.owner == owner_of(task))
		return &slot->operation;
	return slot->claims ? operations.lookup(&pid) : 0;
}

static __always_inline struct operation *current_operation(void)
{
	u64 task = bpf_get_current_pid_tgid();
	struct task_slot *slot = task_slot_of(task);

	return slot ? operation_at(slot, task) : 0;
}

static __always_inline struct operation *begin_in_hash(u32 pid)
{
	struct operation empty = {};

	return operations.update(&pid, &empty) ? 0 : operations.lookup(&pid);
}

/*
 * A task claims the slot by incrementing first and reading afterwards. Of two
 * tasks that increment, the second one reads at least 2, so at most one task
 * reads 1 and takes the slot. If both read 2, both use the hash.
 * (Compare-and-swap would be clearer, but BCC's LLVM does not support it for BPF.)
 */
static __always_inline struct operation *begin_operation(struct task_slot *slot, u64 task)
{
	struct operation *op;

	ADD(slot->claims, 1);
#ifdef CONFIG_X86	/* the release in end_operation() relies on ordered stores */
	if (*(volatile u64 *)&slot->claims == 1) {
		slot->operation.owner = owner_of(task);
		return &slot->operation;
	}
#endif
	op = begin_in_hash(task);
	if (!op)
		ADD(slot->claims, -1);
	return op;
}

static __always_inline void end_operation(struct task_slot *slot, u64 task)
{
	u32 pid = task;

	if (slot->operation.owner == owner_of(task))
		*(volatile u64 *)&slot->operation.owner = 0;
	else
		operations.delete(&pid);
	ADD(slot->claims, -1);
}

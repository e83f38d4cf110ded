/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Replacement of BCC and the kernel for the BPF program, for two compilers:
 *   - gcc, for user space: maps and helpers work on the state in struct stub_world,
 *     and stub_play() calls the entry points as a kernel would;
 *   - clang -target bpf (make lint): maps and helpers are only declared, by number.
 * Included before the program's source (-include).
 */
#ifndef HVO_STUB_H
#define HVO_STUB_H

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef _Bool bool;

#undef __always_inline
#ifdef __bpf__
#define __always_inline inline __attribute__((always_inline))
#else
#define __always_inline inline	/* not always: gcc takes ten times as long */
#endif

/* x86-64 (arch/x86/include/asm/ptrace.h); only the names matter here. */
struct pt_regs {
	unsigned long r15, r14, r13, r12, bp, bx, r11, r10, r9, r8;
	unsigned long ax, cx, dx, si, di, orig_ax, ip, cs, flags, sp, ss;
};
#define PT_REGS_PARM1(ctx) ((ctx)->di)
#define PT_REGS_PARM2(ctx) ((ctx)->si)
#define PT_REGS_PARM3(ctx) ((ctx)->dx)
#define PT_REGS_RC(ctx) ((ctx)->ax)
#ifdef CONFIG_X86
#define PT_REGS_RET(ctx) ((ctx)->sp)	/* as in BCC: location of the return address */
#else
#define PT_REGS_RET(ctx) ((ctx)->bp)	/* the return address itself, in a register */
#endif

#define MOVE(to, from) ((to) = (from))	/* the instruction is one of BPF */

/* Of a map of one element; the loader's way is a number that it replaces. */
#define ELEMENT(type, map) ({ int zero_ = 0; (type *)map.lookup(&zero_); })

/* include/uapi/linux/bpf.h */
#define BPF_ANY 0
#define BPF_NOEXIST 1
#define BPF_F_MMAPABLE (1U << 10)
#define BPF_RB_NO_WAKEUP 1
#define BPF_RB_FORCE_WAKEUP 2

struct stub_map {
	const char *name;
	const char *kind;
	u32 key_size;
	u32 value_size;
	u32 max_entries;
	u32 high;	/* first entry that was never used */
	u8 *keys;
	u8 *values;
	u64 *used;	/* 0: free; else the time of the last use */
	struct stub_map *next;
};

#ifdef __bpf__

#define STUB_HELPER(type, name, number, ...) static type (*const name)(__VA_ARGS__) = (void *)number
STUB_HELPER(void *, stub_lookup, 1, struct stub_map *, const void *);
STUB_HELPER(int, stub_update, 2, struct stub_map *, const void *, const void *, u64);
STUB_HELPER(int, stub_delete, 3, struct stub_map *, const void *);
STUB_HELPER(u64, bpf_ktime_get_ns, 5, void);
STUB_HELPER(u32, bpf_get_smp_processor_id, 8, void);
STUB_HELPER(u64, bpf_get_current_pid_tgid, 14, void);
STUB_HELPER(u64, bpf_get_current_task, 35, void);
STUB_HELPER(int, bpf_get_current_comm, 16, void *, u32);
STUB_HELPER(int, stub_stack_id, 27, void *, struct stub_map *, u64);
STUB_HELPER(int, bpf_probe_read_kernel, 113, void *, u32, const void *);
STUB_HELPER(int, stub_ring_output, 130, struct stub_map *, void *, u64, u64);
#define STUB_REGISTER(map)

#else

/* Declared here, because libc's headers define a name that the program uses (on_exit). */
typedef __SIZE_TYPE__ size_t;
void *calloc(size_t count, size_t size);
void *memcpy(void *to, const void *from, size_t size);
void *memset(void *to, int byte, size_t size);
int memcmp(const void *one, const void *other, size_t size);
int strcmp(const char *one, const char *other);
char *strstr(const char *text, const char *part);

/* One action to play: entry or return of a kernel function, or a write to memory. */
struct stub_action {
	u32 what;	/* number of a function's entry or return, or STUB_WRITE */
	u16 cpu;
	u16 dropped;	/* STUB_DROPPED, STUB_TAIL */
	u64 now;
	u64 task;	/* thread id in the lower half, process id in the upper */
	u64 argument[4];	/* STUB_WRITE: address, value, bytes */
	u64 result;
	char comm[16];
};
#define STUB_WRITE 0xffffffffU
#define STUB_DROPPED 1	/* all return probes were in use at this call */
#define STUB_TAIL 2	/* tail call from a function with a return probe: returns to its trampoline */

/* One BPF function, attached. */
struct stub_point {
	void *function;
	u32 what;
	u8 fentry;
	u8 at_return;
	u8 hooked_return;	/* a kretprobe is attached to the same function */
	u8 parameters;	/* of the kernel function */
};

struct stub_world {
	u64 now, task;
	u32 cpu;
	char comm[16];
	u64 memory, memory_size;	/* readable kernel memory */
	u64 trampoline;	/* return address of a function with a kretprobe */
	u8 *ring;
	u64 ring_size, ring_used;
	u64 wakeups;
};

struct stub_world stub_world;
static struct stub_map *stub_maps;
static u64 stub_stack[4];
static u64 stub_uses;

static int stub_is(const struct stub_map *map, const char *kind)
{
	return strstr(map->kind, kind) != 0;
}

static void stub_register(struct stub_map *map)
{
	map->keys = calloc(map->max_entries, map->key_size);
	map->values = calloc(map->max_entries, map->value_size);
	map->used = calloc(map->max_entries, sizeof(u64));
	map->next = stub_maps;
	stub_maps = map;
}

static long stub_find(struct stub_map *map, const void *key)
{
	if (stub_is(map, "array")) {
		u32 index = *(const u32 *)key;

		return index < map->max_entries ? (long)index : -1;
	}
	for (u32 i = 0; i < map->high; i++)
		if (map->used[i] && !memcmp(map->keys + i * map->key_size, key, map->key_size))
			return i;
	return -1;
}

static void *stub_lookup(struct stub_map *map, const void *key)
{
	long i = stub_find(map, key);

	if (i < 0)
		return 0;
	map->used[i] = ++stub_uses;
	return map->values + i * map->value_size;
}

/* Find a free entry; a full LRU map evicts the least recently used one. */
static long stub_free(struct stub_map *map)
{
	long oldest = 0;

	for (u32 i = 0; i < map->max_entries; i++) {
		if (!map->used[i])
			return i;
		if (map->used[i] < map->used[oldest])
			oldest = i;
	}
	return stub_is(map, "lru") ? oldest : -1;
}

static int stub_update(struct stub_map *map, const void *key, const void *value, u64 flags)
{
	long i = stub_find(map, key);

	if (i >= 0 && flags == BPF_NOEXIST)
		return -17;	/* EEXIST */
	if (i < 0)
		i = stub_free(map);
	if (i < 0)
		return -7;	/* E2BIG */
	if (i >= map->high)
		map->high = i + 1;
	map->used[i] = ++stub_uses;
	memcpy(map->keys + i * map->key_size, key, map->key_size);
	memcpy(map->values + i * map->value_size, value, map->value_size);
	return 0;
}

static int stub_delete(struct stub_map *map, const void *key)
{
	long i = stub_find(map, key);

	if (i < 0 || stub_is(map, "array"))
		return -2;	/* ENOENT */
	map->used[i] = 0;
	return 0;
}

static int stub_ring_output(struct stub_map *map, void *data, u64 size, u64 flags)
{
	if (stub_world.ring_used + size > stub_world.ring_size)
		return -11;	/* EAGAIN */
	memcpy(stub_world.ring + stub_world.ring_used, data, size);
	stub_world.ring_used += size;
	stub_world.wakeups += flags == BPF_RB_FORCE_WAKEUP;
	return 0;
}

/* Every task has one stack, with its thread id as number; those of multiples of 23 have no room. */
static int stub_stack_id(void *ctx, struct stub_map *map, u64 flags)
{
	u32 pid = stub_world.task;

	return !ctx || flags ? -22 : pid % 23 ? (int)pid : -17;	/* EINVAL, EEXIST */
}

static u64 bpf_ktime_get_ns(void)
{
	return stub_world.now;
}

static u32 bpf_get_smp_processor_id(void)
{
	return stub_world.cpu;
}

static u64 bpf_get_current_pid_tgid(void)
{
	return stub_world.task;
}

/* Tasks whose thread ids have the same low bits share a slot. */
static u64 bpf_get_current_task(void)
{
	return 0xffff888000000000ULL + ((stub_world.task & 0xffffffff) << 13);
}

static int bpf_get_current_comm(void *buffer, u32 size)
{
	memcpy(buffer, stub_world.comm, size < 16 ? size : 16);
	return 0;
}

static int stub_within(u64 address, u64 size, u64 start, u64 length)
{
	return address >= start && size <= length && address - start <= length - size;
}

static int bpf_probe_read_kernel(void *to, u32 size, const void *from)
{
	u64 address = (u64)from;

	if (stub_within(address, size, stub_world.memory, stub_world.memory_size) ||
	    stub_within(address, size, (u64)stub_stack, sizeof(stub_stack))) {
		memcpy(to, from, size);
		return 0;
	}
	memset(to, 0, size);
	return -14;	/* EFAULT */
}

struct stub_map *stub_map(const char *name)
{
	for (struct stub_map *map = stub_maps; map; map = map->next)
		if (!strcmp(map->name, name))
			return map;
	return 0;
}

/* Clear all maps. */
void stub_reset(void)
{
	for (struct stub_map *map = stub_maps; map; map = map->next) {
		memset(map->keys, 0, (size_t)map->max_entries * map->key_size);
		memset(map->values, 0, (size_t)map->max_entries * map->value_size);
		memset(map->used, 0, map->max_entries * sizeof(u64));
		map->high = 0;
	}
	stub_world.ring_used = stub_world.wakeups = 0;
}

#define STUB_POISON 0xdeadbeefdeadbeefULL	/* value of an undefined register */

static void stub_kprobe(const struct stub_point *point, const struct stub_action *action)
{
	int (*function)(struct pt_regs *) = point->function;
	struct pt_regs regs;
	int held = (point->hooked_return && !(action->dropped & STUB_DROPPED)) ||
		   action->dropped & STUB_TAIL;

	for (size_t i = 0; i < sizeof(regs) / sizeof(unsigned long); i++)
		((unsigned long *)&regs)[i] = STUB_POISON;
	if (point->at_return) {
		if (action->dropped & STUB_DROPPED)
			return;
		regs.ax = action->result;
	} else {
		regs.di = action->argument[0];
		regs.si = action->argument[1];
		regs.dx = action->argument[2];
		regs.cx = action->argument[3];
	}
	stub_stack[0] = held ? stub_world.trampoline : 0xffffffff81000000ULL;
	regs.sp = (u64)stub_stack;
	regs.bp = stub_stack[0];
	function(&regs);
}

static void stub_trampoline(const struct stub_point *point, const struct stub_action *action)
{
	int (*function)(void *, u64, u64, u64, u64, u64) = point->function;
	u64 argument[5] = { action->argument[0], action->argument[1], action->argument[2],
			    action->argument[3], STUB_POISON };

	if (point->at_return)
		argument[point->parameters] = action->result;
	function(argument, argument[0], argument[1], argument[2], argument[3], argument[4]);
}

static void stub_write(const struct stub_action *action)
{
	memcpy((void *)action->argument[0], &action->argument[1], action->argument[2]);
}

void stub_play(const struct stub_action *action, u64 actions,
	       const struct stub_point *points, u64 count)
{
	for (const struct stub_action *end = action + actions; action < end; action++) {
		if (action->what == STUB_WRITE) {
			stub_write(action);
			continue;
		}
		stub_world.now = action->now;
		stub_world.task = action->task;
		stub_world.cpu = action->cpu;
		memcpy(stub_world.comm, action->comm, sizeof(stub_world.comm));
		for (u64 i = 0; i < count; i++) {
			if (points[i].what != action->what)
				continue;
			if (points[i].fentry)
				stub_trampoline(&points[i], action);
			else
				stub_kprobe(&points[i], action);
		}
	}
}

#define STUB_REGISTER(map)							\
	__attribute__((constructor)) static void stub_register_##map(void)	\
	{									\
		stub_register(&map##_state);					\
	}

#endif

/* A map, with the methods that BCC's rewriter replaces by helper calls. */
#define STUB_MAP(map_kind, key_type, leaf_type, map, entries)				\
	static struct stub_map map##_state = {						\
		#map, map_kind, sizeof(key_type), sizeof(leaf_type), entries,		\
		0, 0, 0, 0, 0 };							\
	static inline leaf_type *map##_lookup(key_type *key)				\
	{										\
		return stub_lookup(&map##_state, key);					\
	}										\
	static inline int map##_update(key_type *key, leaf_type *leaf)			\
	{										\
		return stub_update(&map##_state, key, leaf, BPF_ANY);			\
	}										\
	static inline int map##_insert(key_type *key, leaf_type *leaf)			\
	{										\
		return stub_update(&map##_state, key, leaf, BPF_NOEXIST);		\
	}										\
	static inline int map##_delete(key_type *key)					\
	{										\
		return stub_delete(&map##_state, key);					\
	}										\
	static const struct {								\
		leaf_type *(*lookup)(key_type *);					\
		int (*update)(key_type *, leaf_type *);					\
		int (*insert)(key_type *, leaf_type *);					\
		int (*delete)(key_type *);						\
	} map = { map##_lookup, map##_update, map##_insert, map##_delete };		\
	STUB_REGISTER(map)

/* The only table by this macro is one of stacks. */
#define BPF_TABLE(kind, key, leaf, map, entries)					\
	static struct stub_map map##_state = {						\
		#map, kind, sizeof(key), sizeof(leaf), 0, 0, 0, 0, 0, 0 };		\
	static inline int map##_stack(void *ctx, u64 flags)				\
	{										\
		return stub_stack_id(ctx, &map##_state, flags);				\
	}										\
	static const struct {								\
		int (*get_stackid)(void *, u64);					\
	} map = { map##_stack };							\
	STUB_REGISTER(map)
#define BPF_F_TABLE(kind, key, leaf, map, entries, flags) STUB_MAP(kind, key, leaf, map, entries)
#define BPF_HASH(map, key, leaf, entries) STUB_MAP("hash", key, leaf, map, entries)
#define BPF_ARRAY(map, leaf, entries) STUB_MAP("array", int, leaf, map, entries)

#define BPF_RINGBUF_OUTPUT(map, pages)							\
	static struct stub_map map##_state = {						\
		#map, "ringbuf", 0, 0, 0, 0, 0, 0, 0, 0 };				\
	static inline int map##_output(void *data, u64 size, u64 flags)			\
	{										\
		return stub_ring_output(&map##_state, data, size, flags);		\
	}										\
	static const struct {								\
		int (*ringbuf_output)(void *, u64, u64);				\
	} map = { map##_output };							\
	STUB_REGISTER(map)

/* BCC's names; parameters are passed directly, not in an array of u64. */
#ifdef __bpf__	/* five registers for them, so the context is not among them */
static void *ctx;
#define KFUNC_PROBE(symbol, ...) int kfunc__##symbol(__VA_ARGS__)
#define KRETFUNC_PROBE(symbol, ...) int kretfunc__##symbol(__VA_ARGS__)
#else
#define KFUNC_PROBE(symbol, ...) int kfunc__##symbol(void *ctx, __VA_ARGS__)
#define KRETFUNC_PROBE(symbol, ...) int kretfunc__##symbol(void *ctx, __VA_ARGS__)
#endif

#endif

/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What is read of the kernel: its structs by the offsets that are defined for
 * it, its switch, and whether it will tell of a function's return.
 */

/*
 * What the loader sets (probes/bpf/program.py, Setting). Addresses move with
 * every boot and this text does not; 0 is an address that is not known.
 */
enum { SETTING_SWITCH, SETTING_RETURN_TRAMPOLINE, SETTING_ARMED, SETTINGS };
BPF_ARRAY(settings, u64, SETTINGS);

static __always_inline u64 setting(int which)
{
	u64 *value = settings.lookup(&which);

	return value ? *value : 0;
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
 * optimized where two frames are reserved, before Linux 5.18.
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

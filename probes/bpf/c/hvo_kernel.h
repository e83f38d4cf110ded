/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Reads of kernel memory: structs by the offsets defined for this kernel, the
 * HVO switch, and the detection of dropped returns.
 */

/*
 * Set by the loader (probes/bpf/program.py, Setting), because addresses change
 * on every boot and this source must not. 0 means that an address is not known.
 */
enum { SETTING_SWITCH, SETTING_RETURN_TRAMPOLINE, SETTING_ARMED, SETTINGS };
struct settings {
	u64 value[SETTINGS];
};
BPF_ARRAY(settings, struct settings, 1);

static __always_inline u64 setting(int which)
{
	return ELEMENT(struct settings, settings)->value[which];
}

/*
 * Memory behind an argument of a trampoline is read directly, because the
 * verifier knows the argument's type. In a kprobe a helper must read it.
 * Both return 0 for memory that can't be read.
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
	/* With sparsemem-vmemmap the node is in the top bits of page->flags: there is no section. */
	return READ(u64, page + HVO_PAGE_FLAGS, typed) >> (64 - HVO_NODES_SHIFT);
#else
	return 0;
#endif
}

/*
 * The struct pages fill more than one frame, and none crosses a frame boundary
 * (hugetlb_vmemmap.h, hugetlb_vmemmap_optimizable_size). Before Linux 5.18, with
 * two reserved frames, the condition selects the same of the existing sizes.
 */
static __always_inline int can_be_optimized(u32 order)
{
	u64 size = HVO_STRUCT_PAGE_SIZE;

	return !(size & (size - 1)) && size << order > HVO_PAGE_SIZE;
}

/* In the order of the kernel's checks: the switch first (vmemmap_should_optimize). */
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
 * Whether the kernel will drop the return of this call, because all return
 * probes are in use (max(10, 2 * CPUs), and the functions sleep). If it has one,
 * it has already replaced the return address by its trampoline: of the probes at
 * one address, the last registered runs first (kernel/kprobes.c, add_new_kprobe).
 */
static __always_inline int return_dropped(struct pt_regs *ctx)
{
	u64 trampoline = setting(SETTING_RETURN_TRAMPOLINE), address = 0;

	if (!trampoline)
		return 0;
#ifdef CONFIG_X86	/* the return address is on the stack; elsewhere in a register */
	bpf_probe_read_kernel(&address, sizeof(address), (void *)PT_REGS_RET(ctx));
#else
	address = PT_REGS_RET(ctx);
#endif
	return address != trampoline;
}

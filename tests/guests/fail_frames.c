// SPDX-License-Identifier: GPL-2.0-only
/*
 * Lets chosen allocations of single frames by one task fail, on kernels without fault injection
 * (CONFIG_FAIL_PAGE_ALLOC). `turns` are so many that pass, so many that return NULL, and so on; they
 * are counted down. As with ignore-gfp-highmem, what may come from high memory is left out.
 */
#include <linux/gfp.h>
#include <linux/kprobes.h>
#include <linux/linkage.h>
#include <linux/module.h>
#include <linux/sched.h>

static char *symbol = "";
module_param(symbol, charp, 0444);
MODULE_PARM_DESC(symbol, "the allocator: takes gfp and order");
static int pid;
module_param(pid, int, 0644);
static unsigned int turns[8];
static int nr_turns;
module_param_array(turns, uint, &nr_turns, 0644);

/* The allocator's whole work when it is to fail. */
asmlinkage void fail_frames_return(void);
asm(".text\n"
    ".globl fail_frames_return\n"
    ".type fail_frames_return, @function\n"
    "fail_frames_return:\n"
    "	ret\n"
    "	int3\n"
    ".size fail_frames_return, .-fail_frames_return\n");

static int before(struct kprobe *probe, struct pt_regs *regs)
{
	gfp_t gfp = regs->di;
	unsigned int order = regs->si;
	int turn = 0;

	if (!in_task() || current->pid != pid || order || gfp & __GFP_HIGHMEM)
		return 0;
	while (turn < nr_turns && !turns[turn])
		turn++;
	if (turn == nr_turns)
		return 0;
	turns[turn]--;
	if (turn % 2 == 0)
		return 0;
	regs->ax = 0;
	regs->ip = (unsigned long)fail_frames_return;
	return 1;
}

static struct kprobe probe = { .pre_handler = before };

static int __init fail_frames_init(void)
{
	probe.symbol_name = symbol;
	return register_kprobe(&probe);
}

static void __exit fail_frames_exit(void)
{
	unregister_kprobe(&probe);
}

module_init(fail_frames_init);
module_exit(fail_frames_exit);
MODULE_DESCRIPTION("Chosen allocations fail");
MODULE_LICENSE("GPL");

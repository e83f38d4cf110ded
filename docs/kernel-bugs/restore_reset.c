// SPDX-License-Identifier: GPL-2.0
/*
 * Live patch for Linux 6.12.114 to 6.12.118: vmemmap_restore_pte() resets the
 * struct pages that it copies from the head's page, as it did up to 6.12.113.
 */
#include <linux/livepatch.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/pgtable.h>

/* As in mm/hugetlb_vmemmap.c. */
struct vmemmap_remap_walk {
	void (*remap_pte)(pte_t *pte, unsigned long addr,
			  struct vmemmap_remap_walk *walk);
	unsigned long nr_walked;
	struct page *vmemmap_head;
	struct page *vmemmap_tail;
	struct list_head *vmemmap_pages;
	unsigned long flags;
};

/* Of the shared page, the first struct pages are not tails like the rest. */
#define NOT_LIKE_THE_REST 4

static void vmemmap_restore_pte(pte_t *pte, unsigned long addr,
				struct vmemmap_remap_walk *walk)
{
	struct page *src = pte_page(ptep_get(pte)), *dst, *first;

	if (walk->vmemmap_tail && (walk->vmemmap_tail != src || !walk->nr_walked))
		return;

	dst = list_first_entry(walk->vmemmap_pages, struct page, lru);
	list_del(&dst->lru);
	copy_page(page_to_virt(dst), page_to_virt(src));
	first = page_to_virt(dst);
	memcpy(first, first + NOT_LIKE_THE_REST, NOT_LIKE_THE_REST * sizeof(*first));

	smp_wmb();
	set_pte(pte, mk_pte(dst, PAGE_KERNEL));
}

static struct klp_func funcs[] = {
	{ .old_name = "vmemmap_restore_pte", .new_func = vmemmap_restore_pte },
	{ }
};

static struct klp_object objs[] = { { .funcs = funcs }, { } };

static struct klp_patch patch = { .mod = THIS_MODULE, .objs = objs };

static int __init restore_reset_init(void)
{
	return klp_enable_patch(&patch);
}

static void __exit restore_reset_exit(void)
{
	/* Once it is switched off in /sys/kernel/livepatch. */
}

module_init(restore_reset_init);
module_exit(restore_reset_exit);
MODULE_LICENSE("GPL");
MODULE_INFO(livepatch, "Y");
MODULE_DESCRIPTION("Resets restored struct pages of optimized huge pages");

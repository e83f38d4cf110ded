/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The event record. probes/events.py has the Python definition and documents
 * each field; tests/probes/test_events.py compares the two.
 */
#ifndef HVO_EVENT_H
#define HVO_EVENT_H

#define HVO_EVENT_VERSION 1
/* As version 1, but `reuse` of *_ENTER and *_EXIT is the number of the kernel stack; 0: none. */
#define HVO_EVENT_STACKS 2
/* -ret of a failure whose errno was not read: MAX_ERRNO (include/linux/err.h), used by no error. */
#define HVO_ERRNO_UNKNOWN 4095

enum hvo_kind {
	HVO_OPTIMIZE_ENTER = 1,
	HVO_OPTIMIZE_EXIT = 2,
	HVO_REMAP_RANGE = 3,
	HVO_REMAP_PTE = 4,
	HVO_RESTORE_ENTER = 5,
	HVO_RESTORE_EXIT = 6,
	HVO_RESTORE_PTE = 7,
	HVO_BATCH_ENTER = 8,
	HVO_BATCH_EXIT = 9,
};

enum hvo_reason {
	HVO_REASON_NONE = 0,
	HVO_REASON_OFF = 1,
	HVO_REASON_UNSUPPORTED = 2,
	HVO_REASON_OTHER = 3,
	HVO_REASON_UNKNOWN = 4,
};

struct hvo_event {
	unsigned long long timestamp_ns;
	unsigned long long sequence;
	unsigned long long start;
	unsigned long long end;
	unsigned long long reuse;
	unsigned long long duration_ns;
	int ret;
	unsigned int pid;
	unsigned int tgid;
	unsigned int ptes;
	unsigned int frames_freed;
	unsigned int frames_allocated;
	unsigned short cpu;
	short node;
	unsigned char kind;
	unsigned char order;
	unsigned char reason;
	unsigned char version;
	char comm[16];
};

#endif

/* SPDX-License-Identifier: GPL-2.0-only */
/* Found in place of the kernel's: hvo_stub.h, which comes first, has struct pt_regs. */

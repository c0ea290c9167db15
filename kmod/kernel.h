/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What kernel code publishes: nlbus_publish() of linux/nlbus.h.
 */
#ifndef _NLBUS_KERNEL_H
#define _NLBUS_KERNEL_H

#include <linux/llist.h>
#include <linux/types.h>
#include <linux/workqueue.h>

struct nlbus_bus;
struct nlbus_run;

/**
 * struct nlbus_kernel - what is left to do of what kernel code published
 * @droppers: topics that dropped events whose numbers aren't used up yet
 * @start: starts the bus, which takes a context that may sleep
 */
struct nlbus_kernel {
	struct llist_head droppers;
	struct work_struct start;
};

void nlbus_kernel_init(struct nlbus_kernel *kernel);
void nlbus_kernel_stop(struct nlbus_kernel *kernel);
bool nlbus_kernel_create(struct nlbus_bus *bus, struct nlbus_run *run);
void nlbus_kernel_skip(struct nlbus_bus *bus);

/* Whether there are numbers to be used up. */
static inline bool nlbus_kernel_news(const struct nlbus_kernel *kernel)
{
	return !llist_empty(&kernel->droppers);
}

#endif /* _NLBUS_KERNEL_H */

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Room: a number of bytes that tasks share, and wait for.
 */
#ifndef _NLBUS_ROOM_H
#define _NLBUS_ROOM_H

#include <linux/list.h>
#include <linux/spinlock.h>
#include <linux/types.h>

/**
 * struct nlbus_room - room that is taken and given back
 * @lock: guards the rest
 * @waiters: who waits for it, first come, first served
 * @used: bytes that were taken
 * @limit: bytes that there are
 * @closed: nobody gets any more
 */
struct nlbus_room {
	spinlock_t lock; /* all */
	struct list_head waiters;
	size_t used;
	size_t limit;
	bool closed;
};

/* The most rooms that are taken together. */
#define NLBUS_ROOMS	3

void nlbus_room_init(struct nlbus_room *room, size_t limit);
int nlbus_room_take(struct nlbus_room *const rooms[], unsigned int count,
		    size_t bytes, bool wait);
int nlbus_room_take_now(struct nlbus_room *room, size_t bytes, size_t more);
void nlbus_room_give(struct nlbus_room *room, size_t bytes);
void nlbus_room_close(struct nlbus_room *room);

#endif /* _NLBUS_ROOM_H */

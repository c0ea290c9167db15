/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Topics that somebody else may read than before, and topics that ended: they wait
 * here for the bus thread, which does what is left to do and tells the clients.
 */
#ifndef _NLBUS_MOVES_H
#define _NLBUS_MOVES_H

#include <linux/list.h>
#include <linux/spinlock.h>
#include <linux/types.h>
#include <linux/wait.h>

struct nlbus_bus;
struct nlbus_sys_topic;
struct nlbus_topic;

/**
 * struct nlbus_moves - what the bus thread has yet to say of topics
 * @lock: guards the lists and their counts
 * @moved: topics to be named in $SYS/topics, each once: living ones that changed,
 *         and deleted ones that have ended, which are freed then
 * @count: how many
 * @news: rises with each that is added
 * @left: deleted topics that nobody uses any more, and whose history is to end
 * @dead: how many topics are deleted and not freed yet
 * @fewer: who waits until these are fewer
 */
struct nlbus_moves {
	spinlock_t lock; /* lists and counts */
	struct list_head moved;
	u32 count;
	u32 news;
	struct list_head left;
	u32 dead;
	wait_queue_head_t fewer;
};

void nlbus_moves_init(struct nlbus_moves *moves);
int nlbus_moves_wait(struct nlbus_moves *moves);
void nlbus_moves_changed(struct nlbus_topic *topic);
void nlbus_moves_deleted(struct nlbus_topic *topic);
void nlbus_moves_left(struct nlbus_topic *topic);
void nlbus_moves_end(struct nlbus_bus *bus);
u32 nlbus_moves_name(struct nlbus_moves *moves, struct nlbus_sys_topic *names,
		     u32 most);
void nlbus_moves_free(struct nlbus_bus *bus);

/* Whether there are topics to be ended; anybody may ask. */
static inline bool nlbus_moves_any_left(const struct nlbus_moves *moves)
{
	return !list_empty_careful(&moves->left);
}

#endif /* _NLBUS_MOVES_H */

// SPDX-License-Identifier: GPL-2.0
/*
 * What becomes of a topic that was deleted: nobody finds it any more. Whoever found
 * it before goes on using it, with a reference, and so do the events that were
 * accepted and not yet broadcast. With the last reference it is left to the bus
 * thread, as nobody but the bus's owner may take its history apart: that gives the
 * topic its end. When the end is announced, the topic is freed.
 *
 * The lists lead through the topics themselves. So nothing is allocated, and what
 * has to be said can't get lost.
 */
#include <linux/minmax.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <uapi/linux/nlbus.h>

#include "bus.h"
#include "history.h"
#include "moves.h"
#include "params.h"
#include "run.h"
#include "share.h"
#include "topic.h"

/* Runs of ended histories that one turn of the bus thread lets go. */
#define NLBUS_MOVES_CUT	1024

/**
 * nlbus_moves_init() - have nothing to say
 * @moves: what there is to say
 */
void nlbus_moves_init(struct nlbus_moves *moves)
{
	spin_lock_init(&moves->lock);
	INIT_LIST_HEAD(&moves->moved);
	INIT_LIST_HEAD(&moves->left);
	init_waitqueue_head(&moves->fewer);
}

/**
 * nlbus_moves_wait() - wait until a topic may be deleted
 * @moves: what there is to say
 *
 * Deleted topics don't count for the limit of topics, but take memory until they
 * are announced. So there may be as many of them, and who deletes more is slowed
 * down. What one user deleted is bounded before that: nlbus_account_wait().
 *
 * Return: 0, or -EINTR when a fatal signal struck.
 */
int nlbus_moves_wait(struct nlbus_moves *moves)
{
	return wait_event_killable(moves->fewer, READ_ONCE(moves->dead) <
						 nlbus_params.topics) ?
		-EINTR : 0;
}

/* Puts a topic among those to be named; under the lock. */
static void nlbus_moves_add(struct nlbus_moves *moves,
			    struct nlbus_topic *topic)
{
	if (!list_empty(&topic->moved))
		return;
	list_add_tail(&topic->moved, &moves->moved);
	moves->count++;
	WRITE_ONCE(moves->news, moves->news + 1);
}

/* Undoes nlbus_moves_add(); under the lock. */
static void nlbus_moves_remove(struct nlbus_moves *moves,
			       struct nlbus_topic *topic)
{
	if (list_empty(&topic->moved))
		return;
	list_del_init(&topic->moved);
	moves->count--;
}

/* There is no thread before the first use and after the last one. */
static void nlbus_moves_wake(struct nlbus_bus *bus)
{
	if (bus->queue.reader)
		wake_up_process(bus->queue.reader);
}

/**
 * nlbus_moves_changed() - have it told that others may read a topic than before
 * @topic: the topic, changed already; it can't be deleted meanwhile
 */
void nlbus_moves_changed(struct nlbus_topic *topic)
{
	struct nlbus_bus *bus = topic->bus;

	spin_lock(&bus->moves.lock);
	nlbus_moves_add(&bus->moves, topic);
	spin_unlock(&bus->moves.lock);
	nlbus_moves_wake(bus);
}

/**
 * nlbus_moves_deleted() - have nothing told of a topic until it has ended
 * @topic: the topic, which has just been deleted
 */
void nlbus_moves_deleted(struct nlbus_topic *topic)
{
	struct nlbus_moves *moves = &topic->bus->moves;

	spin_lock(&moves->lock);
	WRITE_ONCE(moves->dead, moves->dead + 1);
	nlbus_moves_remove(moves, topic);
	spin_unlock(&moves->lock);
}

/**
 * nlbus_moves_left() - have a topic ended that was deleted
 * @topic: the topic, whose last reference is gone; the bus thread's from now on
 */
void nlbus_moves_left(struct nlbus_topic *topic)
{
	struct nlbus_bus *bus = topic->bus;

	spin_lock(&bus->moves.lock);
	list_add_tail(&topic->link, &bus->moves.left);
	spin_unlock(&bus->moves.lock);
	nlbus_moves_wake(bus);
}

/**
 * nlbus_moves_end() - end what was left, or a part of it
 * @bus: the bus, whose thread is the caller and owns it; once a turn, so that
 *       events don't wait until all is done
 */
void nlbus_moves_end(struct nlbus_bus *bus)
{
	struct nlbus_moves *moves = &bus->moves;
	u32 most = NLBUS_MOVES_CUT;
	struct nlbus_topic *topic;

	while (most && nlbus_moves_any_left(moves)) {
		/* Others only add behind it. */
		spin_lock(&moves->lock);
		topic = list_first_entry(&moves->left, struct nlbus_topic, link);
		spin_unlock(&moves->lock);
		if (!nlbus_history_end(bus, &topic->history, &most))
			break;
		topic->end = nlbus_history_last(&topic->history) + 1;
		spin_lock(&moves->lock);
		list_del(&topic->link);
		nlbus_moves_add(moves, topic);
		spin_unlock(&moves->lock);
		most -= min(most, 1U);
	}
	nlbus_run_free_list(&bus->dead);
}

/* Frees topics that ended. */
static void nlbus_moves_free_list(struct nlbus_moves *moves,
				  struct list_head *gone)
{
	struct nlbus_topic *topic, *next;
	u32 freed = 0;

	list_for_each_entry_safe(topic, next, gone, moved) {
		nlbus_share_topic_freed(topic->history.share);
		/* Found without a reference: see nlbus_topic_recent(). */
		kfree_rcu(topic, rcu);
		freed++;
	}
	if (!freed)
		return;
	spin_lock(&moves->lock);
	WRITE_ONCE(moves->dead, moves->dead - freed);
	spin_unlock(&moves->lock);
	wake_up(&moves->fewer);
}

/**
 * nlbus_moves_name() - tell which topics moved or ended, which is done thereby
 * @moves: what there is to say; the bus thread is the caller
 * @names: where to write it; NULL if nobody is told any more
 * @most: how many of them at most
 *
 * Return: how many it were.
 */
u32 nlbus_moves_name(struct nlbus_moves *moves, struct nlbus_sys_topic *names,
		     u32 most)
{
	struct nlbus_topic *topic;
	LIST_HEAD(gone);
	u32 count = 0;

	spin_lock(&moves->lock);
	while (count < most && !list_empty(&moves->moved)) {
		topic = list_first_entry(&moves->moved, struct nlbus_topic,
					 moved);
		if (names)
			names[count] = (struct nlbus_sys_topic) {
				.id = cpu_to_le32(topic->id),
				.end = cpu_to_le64(topic->end),
			};
		count++;
		nlbus_moves_remove(moves, topic);
		if (topic->end)
			list_add(&topic->moved, &gone);
	}
	spin_unlock(&moves->lock);
	nlbus_moves_free_list(moves, &gone);
	return count;
}

/**
 * nlbus_moves_free() - end all that is left, of which nobody is told any more
 * @bus: the bus, without a thread
 */
void nlbus_moves_free(struct nlbus_bus *bus)
{
	while (nlbus_moves_any_left(&bus->moves)) {
		nlbus_moves_end(bus);
		cond_resched();
	}
	nlbus_moves_name(&bus->moves, NULL, U32_MAX);
}

// SPDX-License-Identifier: GPL-2.0
/*
 * Limits of histories that are set while they are in use: by whoever may, while
 * the bus thread alone lets go of what is then too much.
 */
#include <linux/list.h>
#include <linux/sched.h>
#include <linux/spinlock.h>

#include "bus.h"
#include "history.h"
#include "run.h"

/* Runs that one turn of the bus thread lets go for lowered limits. */
#define NLBUS_LIMIT_CUT	1024

/**
 * nlbus_lowered_init() - make an empty list of changed limits
 * @lowered: the list
 */
void nlbus_lowered_init(struct nlbus_lowered *lowered)
{
	spin_lock_init(&lowered->lock);
	INIT_LIST_HEAD(&lowered->histories);
}

/**
 * nlbus_history_mark() - have the bus thread look whether a history keeps too much,
 *                        or its ring
 * @bus: the bus
 * @history: the history
 */
void nlbus_history_mark(struct nlbus_bus *bus, struct nlbus_history *history)
{
	spin_lock(&bus->lowered.lock);
	if (list_empty(&history->lowered))
		list_add_tail(&history->lowered, &bus->lowered.histories);
	spin_unlock(&bus->lowered.lock);
}

/**
 * nlbus_history_unmark() - undo nlbus_history_mark()
 * @bus: the bus, whose thread is the caller
 * @history: the history
 */
void nlbus_history_unmark(struct nlbus_bus *bus, struct nlbus_history *history)
{
	spin_lock(&bus->lowered.lock);
	list_del_init(&history->lowered);
	spin_unlock(&bus->lowered.lock);
}

/**
 * nlbus_history_set_limit() - say how much a history may keep
 * @bus: the bus
 * @history: the history
 * @limit: bytes; the bus thread lets go of what is more
 */
void nlbus_history_set_limit(struct nlbus_bus *bus,
			     struct nlbus_history *history, size_t limit)
{
	spin_lock(&history->lock);
	WRITE_ONCE(history->limit, limit);
	history->change = atomic64_inc_return(&bus->change);
	spin_unlock(&history->lock);

	nlbus_history_mark(bus, history);
	wake_up_process(bus->queue.reader);
}

/**
 * nlbus_history_lower() - bring a history nearer to a limit that was lowered
 * @bus: the bus, whose thread is the caller, once a turn, so that events don't
 *       wait until all is done
 */
void nlbus_history_lower(struct nlbus_bus *bus)
{
	struct nlbus_history *history;

	if (!nlbus_history_news(bus))
		return;
	spin_lock(&bus->lowered.lock);
	history = list_first_entry(&bus->lowered.histories,
				   struct nlbus_history, lowered);
	list_del_init(&history->lowered);
	spin_unlock(&bus->lowered.lock);
	if (!nlbus_history_cut(bus, history, NLBUS_LIMIT_CUT))
		nlbus_history_mark(bus, history);
	nlbus_history_tighten(history);
	nlbus_run_free_list(&bus->dead);
}

/**
 * nlbus_history_news() - whether limits were set that nlbus_history_lower()
 *                        hasn't seen
 * @bus: the bus, whose thread alone takes from the list; anybody may ask
 *
 * Return: true if so.
 */
bool nlbus_history_news(const struct nlbus_bus *bus)
{
	return !list_empty_careful(&bus->lowered.histories);
}

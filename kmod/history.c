// SPDX-License-Identifier: GPL-2.0
/*
 * Histories. The bus's owner appends; replays take references under the lock
 * and copy outside of it, so that they hold the bus thread up for microseconds
 * only.
 *
 * Each history is bounded by its own limit, and all of a bus together by
 * another one. A topic's newest event is always kept, so the most that a bus
 * holds is that common limit, and one event for each topic.
 */
#include <linux/bitops.h>
#include <linux/errno.h>
#include <linux/kernel.h>
#include <linux/log2.h>
#include <linux/mm.h>
#include <linux/sched.h>
#include <linux/slab.h>

#include "bus.h"
#include "history.h"
#include "params.h"
#include "record.h"

/* References that a replay takes before it lets the bus thread have its turn. */
#define NLBUS_HISTORY_TURN	64

/* Events that one turn of the bus thread lets go for lowered limits: more than
 * the largest event can take the place of.
 */
#define NLBUS_HISTORY_CUT	1024

/* The least that a ring of more than one slot has. */
#define NLBUS_HISTORY_SLOTS	8

/**
 * nlbus_trim_init() - make a set of empty lists
 * @trim: the set
 */
void nlbus_trim_init(struct nlbus_trim *trim)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(trim->size); i++)
		INIT_LIST_HEAD(&trim->size[i]);
	trim->used = 0;
}

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
 * nlbus_history_init() - make an empty history
 * @history: the history
 * @limit: bytes that it may keep
 */
void nlbus_history_init(struct nlbus_history *history, size_t limit)
{
	spin_lock_init(&history->lock);
	history->ring = &history->one;
	history->slots = 1;
	history->first = 1;
	history->head = 0;
	history->bytes = 0;
	history->limit = limit;
	INIT_LIST_HEAD(&history->trim);
	INIT_LIST_HEAD(&history->lowered);
}

static u64 nlbus_history_count(const struct nlbus_history *history)
{
	return history->head + 1 - history->first;
}

static struct nlbus_record **nlbus_history_slot(struct nlbus_history *history,
						u64 seq)
{
	return &history->ring[seq & (history->slots - 1)];
}

/**
 * nlbus_history_free() - let go of all that a history keeps
 * @history: a history that nobody uses any more; may sleep
 */
void nlbus_history_free(struct nlbus_history *history)
{
	for (; history->first <= history->head; history->first++) {
		nlbus_record_put(*nlbus_history_slot(history, history->first));
		cond_resched();
	}
	if (history->ring != &history->one)
		kvfree(history->ring);
}

/* Gives the ring another number of slots, if there is memory. The caller is the
 * one writer, so nothing changes while the records are copied without the lock.
 */
static bool nlbus_history_resize(struct nlbus_history *history, u32 slots)
{
	struct nlbus_record **ring, **old = history->ring;
	u64 seq;

	ring = kvmalloc_array(slots, sizeof(*ring),
			      GFP_KERNEL | __GFP_NORETRY | __GFP_NOWARN);
	if (!ring)
		return false;
	for (seq = history->first; seq <= history->head; seq++)
		ring[seq & (slots - 1)] = *nlbus_history_slot(history, seq);

	spin_lock(&history->lock);
	history->ring = ring;
	history->slots = slots;
	spin_unlock(&history->lock);

	if (old != &history->one)
		kvfree(old);
	return true;
}

/* Makes room for one more in a full ring; if it can't, the oldest gives way. */
static void nlbus_history_grow(struct nlbus_history *history)
{
	nlbus_history_resize(history,
			     max_t(u32, history->slots * 2, NLBUS_HISTORY_SLOTS));
}

/* Whether a ring is to be halved, being mostly empty. Rings don't count for any limit and are
 * charged to nobody, so they must not stay as large as they once were: else
 * topics that are filled one after the other each leave one behind.
 */
static bool nlbus_history_is_loose(const struct nlbus_history *history)
{
	return history->slots > NLBUS_HISTORY_SLOTS &&
	       nlbus_history_count(history) <= history->slots / 4;
}

/* Has the bus thread look whether a history keeps too much, or its ring. */
static void nlbus_history_mark(struct nlbus_bus *bus,
			       struct nlbus_history *history)
{
	spin_lock(&bus->lowered.lock);
	if (list_empty(&history->lowered))
		list_add_tail(&history->lowered, &bus->lowered.histories);
	spin_unlock(&bus->lowered.lock);
}

/* Takes the oldest event out; under the lock. */
static struct nlbus_record *nlbus_history_pop(struct nlbus_history *history)
{
	struct nlbus_record *record;

	record = *nlbus_history_slot(history, history->first);
	history->first++;
	history->bytes -= record->size;
	return record;
}

/* Lets an event go that was taken out. */
static void nlbus_history_drop(struct nlbus_bus *bus,
			       struct nlbus_record *record)
{
	WRITE_ONCE(bus->history_bytes,
		   bus->history_bytes - record->size);
	atomic64_inc(&bus->counters.evicted);
	nlbus_record_drop(record, &bus->dead);
}

/* Puts a history into the list that it now belongs to. */
static void nlbus_history_place(struct nlbus_trim *trim,
				struct nlbus_history *history)
{
	unsigned int size;

	if (nlbus_history_count(history) <= 1) {
		list_del_init(&history->trim);
		return;
	}
	size = ilog2(history->bytes);
	if (!list_empty(&history->trim) && history->trim_size == size)
		return;
	history->trim_size = size;
	list_move_tail(&history->trim, &trim->size[size]);
	__set_bit(size, &trim->used);
}

static void nlbus_history_evict(struct nlbus_bus *bus,
				struct nlbus_history *history)
{
	struct nlbus_record *record;

	spin_lock(&history->lock);
	record = nlbus_history_pop(history);
	spin_unlock(&history->lock);
	nlbus_history_drop(bus, record);
	if (nlbus_history_is_loose(history))
		nlbus_history_mark(bus, history);
	nlbus_history_place(&bus->trim, history);
}

/* Brings all histories of the bus below their common limit. Those that keep the
 * most, to within a factor of two, give in turn: a flood evicts itself, and what
 * is small stays.
 */
static void nlbus_history_trim(struct nlbus_bus *bus)
{
	struct nlbus_trim *trim = &bus->trim;
	struct nlbus_history *history;
	struct list_head *largest;

	while (bus->history_bytes > nlbus_params.history && trim->used) {
		largest = &trim->size[__fls(trim->used)];
		if (list_empty(largest)) {
			__clear_bit(__fls(trim->used), &trim->used);
			continue;
		}
		history = list_first_entry(largest, struct nlbus_history, trim);
		list_move_tail(&history->trim, largest);
		nlbus_history_evict(bus, history);
	}
}

/* Brings a history below its own limit, by at most so many events. Return:
 * whether it is.
 */
static bool nlbus_history_cut(struct nlbus_bus *bus,
			      struct nlbus_history *history, u32 most)
{
	while (nlbus_history_count(history) > 1 &&
	       history->bytes > READ_ONCE(history->limit)) {
		if (!most--)
			return false;
		nlbus_history_evict(bus, history);
	}
	return true;
}

/**
 * nlbus_history_has_slot() - whether a history needs no larger ring for an event
 * @history: the history
 * @record: the event
 *
 * Return: true if there is a slot, or the oldest event gives way in any case.
 */
bool nlbus_history_has_slot(const struct nlbus_history *history,
			    const struct nlbus_record *record)
{
	return nlbus_history_count(history) < history->slots ||
	       history->bytes + record->size > READ_ONCE(history->limit);
}

/**
 * nlbus_history_append() - give an event its number and keep it
 * @bus: the bus
 * @history: the history of the event's topic
 * @record: the event; history takes a reference of its own
 * @may_sleep: whether this may sleep; if not, nlbus_history_has_slot()
 *
 * Called by the bus's owner alone. Nothing in here can fail.
 */
void nlbus_history_append(struct nlbus_bus *bus, struct nlbus_history *history,
			  struct nlbus_record *record, bool may_sleep)
{
	struct nlbus_record *oldest = NULL;
	size_t size = record->size;

	if (may_sleep && !nlbus_history_has_slot(history, record))
		nlbus_history_grow(history);

	nlbus_record_get(record);

	spin_lock(&history->lock);
	if (nlbus_history_count(history) == history->slots)
		oldest = nlbus_history_pop(history);
	history->head++;
	record->hdr.seq = history->head;
	*nlbus_history_slot(history, history->head) = record;
	history->bytes += size;
	/* Inside the lock: who has seen the new count and then takes the lock
	 * sees this history changed, so that a list of changes misses nothing.
	 */
	history->change = atomic64_inc_return(&bus->change);
	spin_unlock(&history->lock);

	WRITE_ONCE(bus->history_bytes, bus->history_bytes + size);
	if (oldest)
		nlbus_history_drop(bus, oldest);
	nlbus_history_place(&bus->trim, history);
	/* More than this event takes the place of is a limit that was lowered. */
	nlbus_history_cut(bus, history, NLBUS_HISTORY_CUT);
	nlbus_history_trim(bus);
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
	if (!nlbus_history_cut(bus, history, NLBUS_HISTORY_CUT))
		nlbus_history_mark(bus, history);
	while (nlbus_history_is_loose(history) &&
	       nlbus_history_resize(history, history->slots / 2))
		;
	nlbus_record_free_list(&bus->dead);
}

/**
 * nlbus_history_news() - whether limits were set that nlbus_history_lower()
 *                        hasn't seen
 * @bus: the bus, whose thread is the caller and alone takes from the list
 *
 * Return: true if so.
 */
bool nlbus_history_news(const struct nlbus_bus *bus)
{
	return !list_empty_careful(&bus->lowered.histories);
}

/* Takes some references under the lock: more are worth a new turn, because who
 * asks for a replay must not hold the bus thread up. Return: whether to go on.
 */
static bool nlbus_history_take(struct nlbus_history *history,
			       struct nlbus_page *page)
{
	struct nlbus_record *record;
	u32 turn = NLBUS_HISTORY_TURN;

	for (; turn && page->next <= history->head; turn--) {
		if (page->count == page->room)
			return false;
		record = *nlbus_history_slot(history, page->next);
		if (page->count &&
		    page->len + nlbus_record_len(record) > page->max_len)
			return false;
		page->records[page->count++] = nlbus_record_get(record);
		page->len += nlbus_record_len(record);
		page->next++;
	}
	return !turn;
}

/**
 * nlbus_history_page() - take events out of a history, to send them again
 * @history: the history
 * @from: the first sequence number wanted, not 0
 * @page: where and how many; filled in, and the caller's to cut to 0
 *
 * Return: 0, or -ERANGE for @from beyond the newest event and the next one;
 * then only the numbers of @page are filled in.
 */
int nlbus_history_page(struct nlbus_history *history, u64 from,
		       struct nlbus_page *page)
{
	bool more;

	page->count = 0;
	page->len = 0;

	spin_lock(&history->lock);
	page->first = history->first;
	page->head = history->head;
	page->next = max(from, history->first);
	if (from > history->head && from - history->head > 1) {
		spin_unlock(&history->lock);
		return -ERANGE;
	}
	more = nlbus_history_take(history, page);
	spin_unlock(&history->lock);

	while (more) {
		spin_lock(&history->lock);
		/* What was let go in the meantime ends the page: the next one
		 * says where the history begins now.
		 */
		more = page->next >= history->first &&
		       nlbus_history_take(history, page);
		spin_unlock(&history->lock);
	}
	return 0;
}

/**
 * nlbus_page_cut() - let go of the last records of a page
 * @page: the page
 * @count: how many to keep, at most as many as there are
 */
void nlbus_page_cut(struct nlbus_page *page, u32 count)
{
	struct nlbus_record *record;

	while (page->count > count) {
		record = page->records[--page->count];
		page->len -= nlbus_record_len(record);
		page->next--;
		nlbus_record_put(record);
	}
}

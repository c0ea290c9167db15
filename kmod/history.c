// SPDX-License-Identifier: GPL-2.0
/*
 * Histories. The bus's owner appends runs, and adds lone events to the newest one.
 *
 * Each history is bounded by its own limit, all of a user together by another one,
 * and all of a bus by a third. A topic's newest event is always kept, so the most
 * that a bus holds is that common limit, and one event for each topic.
 */
#include <linux/errno.h>
#include <linux/kernel.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/sched.h>
#include <linux/slab.h>

#include "account.h"
#include "bus.h"
#include "history.h"
#include "params.h"
#include "run.h"
#include "share.h"

/* Runs that an event has its history let go at most: more than the largest one can
 * take the place of.
 */
#define NLBUS_HISTORY_CUT	1024

/* The least that a ring of more than one slot has. */
#define NLBUS_HISTORY_SLOTS	8

/* Slots that the bus thread leaves free: publishers, who can't make the ring
 * larger, need some for a datagram.
 */
#define NLBUS_HISTORY_SPARE	4

/**
 * nlbus_history_init() - make an empty history
 * @history: the history
 * @limit: bytes that it may keep
 * @share: whose it is, or NULL
 */
void nlbus_history_init(struct nlbus_history *history, size_t limit,
			struct nlbus_share *share)
{
	spin_lock_init(&history->lock);
	history->ring = &history->one;
	history->slots = 1;
	history->begin = 0;
	history->end = 0;
	history->first = 1;
	history->head = 0;
	history->skipped = 0;
	history->bytes = 0;
	history->limit = limit;
	history->room = 0;
	history->claimed = 0;
	INIT_LIST_HEAD(&history->trimmed.link);
	INIT_LIST_HEAD(&history->own_trimmed.link);
	history->share = share;
	INIT_LIST_HEAD(&history->lowered);
}

/* Bytes of messages that may be added to a run that has so many. Behind a large
 * event the allocator may have left much; but what shares a run is let go
 * together, so that stays small.
 */
static u32 nlbus_history_room(const struct nlbus_run *run, u32 len)
{
	u32 most = min_t(u32, nlbus_run_room(run), NLBUS_RUN_LEN);

	return most > len ? most - len : 0;
}

/* Whether it can let go of anything: of all but the newest event, and of memory
 * that nothing is in. The owner's to ask.
 */
static bool nlbus_history_gives(const struct nlbus_history *history)
{
	return history->first < history->head ||
	       history->room > history->bytes / 2;
}

/* Gives the ring another number of slots, if there is memory. The caller is the
 * one writer, so nothing changes while the slots are copied without the lock.
 */
static bool nlbus_history_resize(struct nlbus_history *history, u32 slots)
{
	struct nlbus_kept *ring, *old = history->ring;
	u32 run;

	ring = kvmalloc_array(slots, sizeof(*ring),
			      GFP_KERNEL | __GFP_NORETRY | __GFP_NOWARN);
	if (!ring)
		return false;
	for (run = history->begin; run != history->end; run++)
		ring[run & (slots - 1)] = *nlbus_history_slot(history, run);

	spin_lock(&history->lock);
	history->ring = ring;
	history->slots = slots;
	spin_unlock(&history->lock);

	if (old != &history->one)
		kvfree(old);
	return true;
}

/* Whether the oldest run gives way for another one of so many bytes. */
static bool nlbus_history_is_full(const struct nlbus_history *history,
				  size_t size)
{
	return history->bytes + size > READ_ONCE(history->limit);
}

/* Makes room for more in a ring that is nearly full; if it can't, the oldest gives
 * way. One slot is enough for who keeps one run.
 */
static void nlbus_history_grow(struct nlbus_history *history, size_t size)
{
	u32 spare = history->slots > 1 ? NLBUS_HISTORY_SPARE : 1;

	if (nlbus_history_runs(history) + spare > history->slots &&
	    (history->slots > 1 || !nlbus_history_is_full(history, size)))
		nlbus_history_resize(history, max_t(u32, history->slots * 2,
						    NLBUS_HISTORY_SLOTS));
}

/* Whether a ring is to be halved, being mostly empty. Rings don't count for any limit and are
 * charged to nobody, so they must not stay as large as they once were: else
 * topics that are filled one after the other each leave one behind.
 */
static bool nlbus_history_is_loose(const struct nlbus_history *history)
{
	return history->slots > NLBUS_HISTORY_SLOTS &&
	       nlbus_history_runs(history) + 2 <= history->slots / 4;
}

/**
 * nlbus_history_tighten() - halve a ring that is mostly empty until it isn't
 * @history: the history, of whose bus the caller is the thread; may sleep
 */
void nlbus_history_tighten(struct nlbus_history *history)
{
	while (nlbus_history_is_loose(history) &&
	       nlbus_history_resize(history, history->slots / 2))
		;
}

/* Takes the oldest run out; under the lock. Return: where it was kept, and how
 * many events go with it.
 */
static struct nlbus_run *nlbus_history_pop(struct nlbus_history *history,
					   u64 *events)
{
	const struct nlbus_kept *kept;

	kept = nlbus_history_slot(history, history->begin++);
	*events = kept->count;
	history->bytes -= kept->run->size;
	history->first = nlbus_history_runs(history) ?
		nlbus_history_slot(history, history->begin)->first :
		nlbus_history_last(history) + 1;
	return kept->run;
}

/* Counts memory that a history has more than before; less, if negative. */
static void nlbus_history_count(struct nlbus_bus *bus,
				const struct nlbus_history *history, long bytes)
{
	WRITE_ONCE(bus->history_bytes, bus->history_bytes + bytes);
	if (history->share) {
		bus->user_bytes += bytes;
		nlbus_account_keep(history->share->account, bytes);
	}
}

/* Lets a run go that was taken out. */
static void nlbus_history_drop(struct nlbus_bus *bus,
			       const struct nlbus_history *history,
			       struct nlbus_run *run, u64 events)
{
	nlbus_history_count(bus, history, -(long)run->size);
	atomic64_add(events, &bus->counters.evicted);
	nlbus_run_drop(run, &bus->dead);
}

/* Has a history give when it is its turn, if it has anything to. */
static void nlbus_history_place(struct nlbus_bus *bus,
				struct nlbus_history *history)
{
	if (!nlbus_history_gives(history)) {
		nlbus_trim_leave(&history->trimmed);
		nlbus_trim_leave(&history->own_trimmed);
		return;
	}
	if (!history->share) {
		nlbus_trim_place(&bus->trim, &history->trimmed, history->bytes);
		return;
	}
	nlbus_trim_place(&bus->user_trim, &history->trimmed, history->bytes);
	nlbus_trim_place(&history->share->trim, &history->own_trimmed,
			 history->bytes);
}

/* Has the newest event alone stay of a run, in memory of its own: else a small
 * event could hold on to all those that it came with. Without memory for that,
 * which isn't waited for, they stay together. Return: whether memory was given.
 */
static bool nlbus_history_shrink(struct nlbus_bus *bus,
				 struct nlbus_history *history)
{
	struct nlbus_kept *kept = nlbus_history_newest(history);
	struct nlbus_run *old = kept->run, *run;
	struct nlmsghdr *newest = nlbus_event_last(old->data, kept->len);
	u32 len = NLMSG_ALIGN(newest->nlmsg_len);
	u64 events;

	if (nlbus_run_size(len) >= old->size)
		return false;
	run = nlbus_run_alloc(len, len, GFP_NOWAIT | __GFP_ACCOUNT |
					__GFP_NOWARN);
	if (!run)
		return false;
	memcpy(run->data, newest, len);

	spin_lock(&history->lock);
	events = history->head - history->first;
	history->first = history->head;
	history->bytes -= old->size - run->size;
	*kept = (struct nlbus_kept) {
		.run = run,
		.first = history->head,
		.len = len,
		.count = 1,
	};
	spin_unlock(&history->lock);
	WRITE_ONCE(history->room, history->skipped ? 0 :
				  nlbus_history_room(run, len));

	nlbus_history_count(bus, history, run->size);
	nlbus_history_drop(bus, history, old, events);
	return true;
}

/* Has a history give up what is oldest. Return: whether it did. */
static bool nlbus_history_evict(struct nlbus_bus *bus,
				struct nlbus_history *history)
{
	struct nlbus_run *run;
	u64 events;

	if (nlbus_history_runs(history) > 1) {
		spin_lock(&history->lock);
		run = nlbus_history_pop(history, &events);
		spin_unlock(&history->lock);
		nlbus_history_drop(bus, history, run, events);
	} else if (!nlbus_history_shrink(bus, history)) {
		return false;
	}
	nlbus_history_place(bus, history);
	if (nlbus_history_is_loose(history))
		nlbus_history_mark(bus, history);
	return true;
}

/* Finds which history is to give for all others. Users leave the privileged a part:
 * they give alone while they have more than the rest, and get none of that part.
 */
static struct nlbus_trimmed *nlbus_history_largest(struct nlbus_bus *bus)
{
	size_t reserve = NLBUS_SHARE_RESERVE(nlbus_params.history);
	struct nlbus_trimmed *users = nlbus_trim_largest(&bus->user_trim);
	struct nlbus_trimmed *others = NULL;

	if (!users || bus->user_bytes <= nlbus_params.history - reserve)
		others = nlbus_trim_largest(&bus->trim);
	if (users && others)
		return users->size >= others->size ? users : others;
	if (others && bus->user_bytes &&
	    bus->history_bytes - bus->user_bytes <= reserve)
		return NULL;
	return users ?: others;
}

/* Brings all histories of the bus below their common limit. */
static void nlbus_history_trim(struct nlbus_bus *bus)
{
	struct nlbus_history *history;
	struct nlbus_trimmed *largest;

	while (bus->history_bytes > nlbus_params.history &&
	       (largest = nlbus_history_largest(bus))) {
		history = container_of(largest, struct nlbus_history, trimmed);
		/* One that can't is left alone until it has more. */
		if (!nlbus_history_evict(bus, history))
			nlbus_trim_leave(largest);
	}
}

/* Brings a user's histories on this bus below what he may keep on all of them, or
 * nearer to that.
 */
static void nlbus_history_trim_own(struct nlbus_bus *bus,
				   struct nlbus_share *share)
{
	u32 most = NLBUS_HISTORY_CUT;
	struct nlbus_history *history;
	struct nlbus_trimmed *largest;

	while (most-- && nlbus_account_keeps_more(share->account, 0) &&
	       (largest = nlbus_trim_largest(&share->trim))) {
		history = container_of(largest, struct nlbus_history,
				       own_trimmed);
		if (!nlbus_history_evict(bus, history))
			nlbus_trim_leave(largest);
	}
}

/**
 * nlbus_history_cut() - bring a history below its own limit
 * @bus: the bus, whose owner is the caller
 * @history: the history
 * @most: of how many runs it may let go
 *
 * Return: whether it is below it, or can't be.
 */
bool nlbus_history_cut(struct nlbus_bus *bus, struct nlbus_history *history,
		       u32 most)
{
	while (history->bytes > READ_ONCE(history->limit) &&
	       nlbus_history_gives(history)) {
		if (!most--)
			return false;
		if (!nlbus_history_evict(bus, history))
			return true;
	}
	return true;
}

/**
 * nlbus_history_claim() - ask for a slot for a run, for who can't make the ring
 *                         larger
 * @history: the history, whose @claimed is how many were asked for
 * @run: the run
 *
 * Return: true if there is one, or the oldest run gives way in any case; and if
 * there is little to let go, as there is where no limit was lowered.
 */
bool nlbus_history_claim(struct nlbus_history *history,
			 const struct nlbus_run *run)
{
	u32 claimed = ++history->claimed;

	if (nlbus_history_is_full(history, 0) && nlbus_history_runs(history) > 1)
		return false;
	return nlbus_history_runs(history) + claimed <= history->slots ||
	       (claimed == 1 && nlbus_history_is_full(history, run->size));
}

/**
 * nlbus_history_append() - give a run its numbers and keep it
 * @bus: the bus
 * @history: the history of the run's topic
 * @run: the events, numbered from nlbus_history_last() on; history takes a reference
 *       of its own
 * @may_sleep: whether this may sleep; if not, nlbus_history_claim()
 *
 * Called by the bus's owner alone. Nothing in here can fail.
 */
void nlbus_history_append(struct nlbus_bus *bus, struct nlbus_history *history,
			  struct nlbus_run *run, bool may_sleep)
{
	struct nlbus_run *oldest = NULL;
	u64 events;

	if (may_sleep)
		nlbus_history_grow(history, run->size);

	nlbus_run_get(run);

	spin_lock(&history->lock);
	if (nlbus_history_runs(history) == history->slots)
		oldest = nlbus_history_pop(history, &events);
	*nlbus_history_slot(history, history->end++) = (struct nlbus_kept) {
		.run = run,
		.first = nlbus_history_last(history) + 1,
		.len = run->len,
		.count = run->count,
	};
	history->head = nlbus_history_last(history) + run->count;
	history->skipped = 0;
	history->bytes += run->size;
	/* Inside the lock: who has seen the new count and then takes the lock
	 * sees this history changed, so that a list of changes misses nothing.
	 */
	history->change = atomic64_add_return(run->count, &bus->change);
	spin_unlock(&history->lock);
	WRITE_ONCE(history->room, nlbus_history_room(run, run->len));

	nlbus_history_count(bus, history, run->size);
	if (oldest)
		nlbus_history_drop(bus, history, oldest, events);
	nlbus_history_place(bus, history);
	/* More than this run takes the place of is a limit that was lowered. */
	nlbus_history_cut(bus, history, NLBUS_HISTORY_CUT);
	if (history->share)
		nlbus_history_trim_own(bus, history->share);
	nlbus_history_trim(bus);
}

/**
 * nlbus_history_fits() - whether the newest run has memory for more events
 * @history: the history
 * @len: bytes of their messages
 *
 * Anybody may ask; to the bus's owner the answer is the truth.
 *
 * Return: true if nlbus_history_extend() may be called.
 */
bool nlbus_history_fits(const struct nlbus_history *history, u32 len)
{
	/* Not behind what is there only because it is the newest. */
	return len <= READ_ONCE(history->room) &&
	       READ_ONCE(history->bytes) <= READ_ONCE(history->limit);
}

/**
 * nlbus_history_extend() - keep events in the newest run
 * @bus: the bus
 * @history: the history of the events' topic, into which they fit
 * @events: the events, numbered from the history's head on; copied
 * @len: bytes of their messages
 * @count: how many
 *
 * Called by the bus's owner alone. Nothing in here can fail or sleep.
 */
void nlbus_history_extend(struct nlbus_bus *bus, struct nlbus_history *history,
			  const void *events, u32 len, u32 count)
{
	struct nlbus_kept *kept = nlbus_history_newest(history);

	/* Behind what replays may be reading. */
	memcpy(kept->run->data + kept->len, events, len);

	spin_lock(&history->lock);
	kept->len += len;
	kept->count += count;
	history->head += count;
	/* Inside the lock: see nlbus_history_append(). */
	history->change = atomic64_add_return(count, &bus->change);
	spin_unlock(&history->lock);
	WRITE_ONCE(history->room, history->room - len);
	if (list_empty(&history->trimmed.link))
		nlbus_history_place(bus, history);
}

/**
 * nlbus_history_end() - let go of all that a history keeps, or of a part of it
 * @bus: the bus, whose thread is the caller and owns it; it frees &nlbus_bus.dead
 * @history: the history; nobody else uses it any more, but for
 *           nlbus_direct_lone(), which finds no room in it
 * @most: of how many runs it may let go; how many are left of that
 *
 * Return: whether nothing is left.
 */
bool nlbus_history_end(struct nlbus_bus *bus, struct nlbus_history *history,
		       u32 *most)
{
	struct nlbus_run *run;

	nlbus_history_unmark(bus, history);
	nlbus_trim_leave(&history->trimmed);
	nlbus_trim_leave(&history->own_trimmed);
	WRITE_ONCE(history->room, 0);
	for (; nlbus_history_runs(history); history->begin++) {
		if (!*most)
			return false;
		--*most;
		run = nlbus_history_slot(history, history->begin)->run;
		nlbus_history_count(bus, history, -(long)run->size);
		nlbus_run_drop(run, &bus->dead);
	}
	if (history->ring != &history->one)
		kvfree(history->ring);
	history->ring = &history->one;
	return true;
}

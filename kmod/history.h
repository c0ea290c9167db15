/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What a topic keeps: its newest events, by sequence number.
 */
#ifndef _NLBUS_HISTORY_H
#define _NLBUS_HISTORY_H

#include <linux/bits.h>
#include <linux/list.h>
#include <linux/spinlock.h>
#include <linux/types.h>

struct nlbus_bus;
struct nlbus_run;
struct nlbus_share;

/**
 * struct nlbus_trim - histories that have more than their newest event, by size
 * @size: lists of histories, one for each power of two of their bytes, in the
 *        order in which they are to give
 * @used: bit by bit which lists may not be empty; no other one isn't
 */
struct nlbus_trim {
	struct list_head size[BITS_PER_LONG];
	unsigned long used;
};

/**
 * struct nlbus_trimmed - a history's place in a &struct nlbus_trim
 * @link: in one of its lists, while the history has something to give
 * @size: in which
 */
struct nlbus_trimmed {
	struct list_head link;
	unsigned int size;
};

/**
 * struct nlbus_kept - a run in a history
 * @run: the run, with a reference
 * @first: sequence number of its first event
 * @len: bytes of its messages; of the newest run, which may get more of them, as
 *       many as there are
 * @count: how many those are. The next run begins behind them, unless numbers
 *         follow that no event has: nlbus_lost_use()
 */
struct nlbus_kept {
	struct nlbus_run *run;
	u64 first;
	u32 len;
	u32 count;
};

/**
 * struct nlbus_history - the newest events of one topic
 * @lock: guards all down to @change; taken by the bus's owner, the one writer
 *        of all but @limit, and by those who look a topic up, replay it or set @limit
 * @ring: runs, by a count of runs modulo @slots
 * @slots: a power of two
 * @one: the ring as long as it has one slot, so that keeping the newest event
 *       never takes an allocation that could fail
 * @begin: count of the oldest run
 * @end: one behind that of the newest run
 * @first: sequence number of the oldest event; for none, one that is still to come
 * @head: sequence number of the newest event
 * @skipped: how many numbers behind @head no event has
 * @bytes: memory of the runs
 * @limit: bytes to keep; the newest event is kept whatever it has
 * @change: the bus's change count when this last changed
 * @room: bytes of messages for which the newest run has memory left; the owner's,
 *        as is all that follows but @lowered; others may look
 * @claimed: runs that a datagram would add
 * @trimmed: among all that the bus keeps: &nlbus_bus.trim, or .user_trim
 * @own_trimmed: among those of the same user: &nlbus_share.trim
 * @share: whose it is: his, who created the topic; NULL for a privileged one's
 * @lowered: in &nlbus_lowered.histories while @limit is news to the bus thread
 */
struct nlbus_history {
	spinlock_t lock; /* all down to @change */
	struct nlbus_kept *ring;
	u32 slots;
	struct nlbus_kept one;
	u32 begin;
	u32 end;
	u64 first;
	u64 head;
	u64 skipped;
	size_t bytes;
	size_t limit;
	u64 change;
	u32 room;
	u32 claimed;
	struct nlbus_trimmed trimmed;
	struct nlbus_trimmed own_trimmed;
	struct nlbus_share *share;
	struct list_head lowered;
};

/**
 * struct nlbus_lowered - histories that may keep more than their limits
 * @lock: guards the rest
 * @histories: those whose limit was set since the bus thread last looked
 */
struct nlbus_lowered {
	spinlock_t lock; /* histories */
	struct list_head histories;
};

/* How many runs there are. */
static inline u32 nlbus_history_runs(const struct nlbus_history *history)
{
	return history->end - history->begin;
}

/* The newest sequence number, whether an event has it or was lost. */
static inline u64 nlbus_history_last(const struct nlbus_history *history)
{
	return history->head + history->skipped;
}

static inline struct nlbus_kept *
nlbus_history_slot(struct nlbus_history *history, u32 run)
{
	return &history->ring[run & (history->slots - 1)];
}

static inline struct nlbus_kept *
nlbus_history_newest(struct nlbus_history *history)
{
	return nlbus_history_slot(history, history->end - 1);
}

void nlbus_history_init(struct nlbus_history *history, size_t limit,
			struct nlbus_share *share);
bool nlbus_history_end(struct nlbus_bus *bus, struct nlbus_history *history,
		       u32 *most);
bool nlbus_history_claim(struct nlbus_history *history,
			 const struct nlbus_run *run);
void nlbus_history_append(struct nlbus_bus *bus, struct nlbus_history *history,
			  struct nlbus_run *run, bool may_sleep);
bool nlbus_history_fits(const struct nlbus_history *history, u32 len);
void nlbus_history_extend(struct nlbus_bus *bus, struct nlbus_history *history,
			  const void *events, u32 len, u32 count);
bool nlbus_history_cut(struct nlbus_bus *bus, struct nlbus_history *history,
		       u32 most);
void nlbus_history_tighten(struct nlbus_history *history);

/* trim.c */
void nlbus_trim_init(struct nlbus_trim *trim);
void nlbus_trim_place(struct nlbus_trim *trim, struct nlbus_trimmed *trimmed,
		      size_t bytes);
struct nlbus_trimmed *nlbus_trim_largest(struct nlbus_trim *trim);

/* Has a history give no more. */
static inline void nlbus_trim_leave(struct nlbus_trimmed *trimmed)
{
	list_del_init(&trimmed->link);
}

/* limit.c */
void nlbus_lowered_init(struct nlbus_lowered *lowered);
void nlbus_history_mark(struct nlbus_bus *bus, struct nlbus_history *history);
void nlbus_history_unmark(struct nlbus_bus *bus, struct nlbus_history *history);
void nlbus_history_set_limit(struct nlbus_bus *bus,
			     struct nlbus_history *history, size_t limit);
void nlbus_history_lower(struct nlbus_bus *bus);
bool nlbus_history_news(const struct nlbus_bus *bus);

#endif /* _NLBUS_HISTORY_H */

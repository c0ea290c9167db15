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
struct nlbus_record;

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
 * struct nlbus_history - the newest events of one topic
 * @lock: guards all but the last three; taken by the bus's owner, the one writer
 *        of all but @limit, and by those who look a topic up, replay it or set @limit
 * @ring: records by sequence number modulo @slots
 * @slots: a power of two
 * @one: the ring as long as it has one slot, so that keeping the newest event
 *       never takes an allocation that could fail
 * @first: sequence number of the oldest record, @head + 1 for none
 * @head: the newest sequence number
 * @bytes: memory of the records
 * @limit: bytes to keep; the newest record is kept whatever it has
 * @change: the bus's change count when this last changed
 * @trim: in a list of &nlbus_bus.trim while more than one record is here; the
 *        owner's, as is
 * @trim_size: which of the lists
 * @lowered: in &nlbus_lowered.histories while @limit is news to the bus thread
 */
struct nlbus_history {
	spinlock_t lock; /* all but the last three */
	struct nlbus_record **ring;
	u32 slots;
	struct nlbus_record *one;
	u64 first;
	u64 head;
	size_t bytes;
	size_t limit;
	u64 change;
	struct list_head trim;
	unsigned int trim_size;
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

/**
 * struct nlbus_page - events out of a history, for a replay
 * @records: array of references to records
 * @room: how many fit in @records
 * @max_len: how many bytes of messages are wanted; the first event is given
 *           whatever it has
 * @count: how many records there are
 * @len: bytes of their messages
 * @first: the first sequence number that the history keeps
 * @next: the one behind the last record of the page
 * @head: the newest one
 */
struct nlbus_page {
	struct nlbus_record **records;
	u32 room;
	u32 max_len;
	u32 count;
	u32 len;
	u64 first;
	u64 next;
	u64 head;
};

void nlbus_trim_init(struct nlbus_trim *trim);
void nlbus_lowered_init(struct nlbus_lowered *lowered);
void nlbus_history_init(struct nlbus_history *history, size_t limit);
void nlbus_history_free(struct nlbus_history *history);
bool nlbus_history_has_slot(const struct nlbus_history *history,
			    const struct nlbus_record *record);
void nlbus_history_append(struct nlbus_bus *bus, struct nlbus_history *history,
			  struct nlbus_record *record, bool may_sleep);
void nlbus_history_set_limit(struct nlbus_bus *bus,
			     struct nlbus_history *history, size_t limit);
void nlbus_history_lower(struct nlbus_bus *bus);
bool nlbus_history_news(const struct nlbus_bus *bus);
int nlbus_history_page(struct nlbus_history *history, u64 from,
		       struct nlbus_page *page);
void nlbus_page_cut(struct nlbus_page *page, u32 count);

#endif /* _NLBUS_HISTORY_H */

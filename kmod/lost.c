// SPDX-License-Identifier: GPL-2.0
/*
 * Numbers that no event has: what kernel code published and there was no room for, and
 * what a process that brings events from elsewhere says was lost on its way. They leave
 * a gap in the topic's history, so that subscribers see them as loss.
 *
 * What a process says takes its place among the events as a run without any: it is
 * queued and counts as they do, and uses up its numbers when it is its turn.
 */
#include <linux/atomic.h>
#include <linux/errno.h>
#include <linux/minmax.h>
#include <linux/spinlock.h>

#include "bus.h"
#include "history.h"
#include "lost.h"
#include "moves.h"
#include "refusal.h"
#include "reply.h"
#include "run.h"
#include "topic.h"
#include "trace.h"

/* Beyond this no number is used up by nothing, so that they never begin anew. What comes
 * close, as it was queued before NLBUS_LOST_HEAD_MAX was reached, takes a queue of many
 * times the default.
 */
#define NLBUS_LOST_SEQ_MAX	(1ULL << 53)

/* How many numbers a publish uses up. */
static u64 nlbus_lost_count(const struct nlbus_event_hdr *hdr)
{
	const struct nlbus_lost *lost;

	lost = (const void *)(hdr + 1) +
	       ALIGN(hdr->topic_len, NLBUS_TOPIC_ALIGNTO);
	return lost->count;
}

/**
 * nlbus_lost_check() - check the payload of a publish that uses up numbers
 * @hdr: its event header, checked, with its topic
 * @len: bytes of the payload
 * @refusal: says why, unless it is well-formed
 *
 * Return: 0, or a negative errno of docs/PROTOCOL.md.
 */
int nlbus_lost_check(const struct nlbus_event_hdr *hdr, u32 len,
		     struct nlbus_refusal *refusal)
{
	u64 count;

	if (len != sizeof(struct nlbus_lost) ||
	    hdr->content != NLBUS_CONTENT_OPAQUE)
		return nlbus_refusal_set(refusal, -EINVAL,
					 "topic '%.*s': how many numbers are lost is said in %zu opaque bytes, the payload has %u of content %u",
					 hdr->topic_len, (const u8 *)(hdr + 1),
					 sizeof(struct nlbus_lost), len,
					 hdr->content);
	count = nlbus_lost_count(hdr);
	if (!count || count > NLBUS_LOST_MAX)
		return nlbus_refusal_set(refusal, -ERANGE,
					 "topic '%.*s': %llu numbers can't be lost by one publish: 1 to %u can, and more by several",
					 hdr->topic_len, (const u8 *)(hdr + 1),
					 count, NLBUS_LOST_MAX);
	return 0;
}

/**
 * nlbus_lost_check_topic() - check whether numbers of a topic may be lost
 * @topic: the topic
 * @refusal: says why, unless they may
 *
 * Else a publisher could use them up: a thousand times 2^32 go into a datagram.
 *
 * Return: 0 or -ERANGE.
 */
int nlbus_lost_check_topic(struct nlbus_topic *topic,
			   struct nlbus_refusal *refusal)
{
	u64 last;

	spin_lock(&topic->history.lock);
	last = nlbus_history_last(&topic->history);
	spin_unlock(&topic->history.lock);
	if (last <= NLBUS_LOST_HEAD_MAX)
		return 0;
	return nlbus_refusal_set(refusal, -ERANGE,
				 "topic '%.*s': %llu numbers are used up, so no more can be lost: delete it, and it begins anew",
				 topic->name_len, topic->name, last);
}

/**
 * nlbus_lost_use() - use up numbers of a topic that no event has
 * @bus: the bus, whose owner is the caller, or that has none any more
 * @history: the topic's history
 * @count: how many
 *
 * Who asks for one of them in a replay is told that the first kept one comes behind.
 * Doesn't sleep.
 */
void nlbus_lost_use(struct nlbus_bus *bus, struct nlbus_history *history,
		    u64 count)
{
	u64 last = nlbus_history_last(history);

	count = last < NLBUS_LOST_SEQ_MAX ?
		min_t(u64, count, NLBUS_LOST_SEQ_MAX - last) : 0;

	spin_lock(&history->lock);
	history->skipped += count;
	if (!nlbus_history_runs(history))
		history->first = nlbus_history_last(history) + 1;
	/* Inside the lock: see nlbus_history_append(). */
	history->change = atomic64_inc_return(&bus->change);
	spin_unlock(&history->lock);
	/* In a run all numbers follow each other: the next one begins another. */
	WRITE_ONCE(history->room, 0);
}

/**
 * nlbus_lost_number() - use up the numbers that a publish says are lost
 * @bus: the bus, whose owner is the caller
 * @run: the publish; the caller's reference stays the caller's
 *
 * Doesn't sleep.
 */
void nlbus_lost_number(struct nlbus_bus *bus, struct nlbus_run *run)
{
	struct nlbus_history *history = &run->topic->history;
	struct nlmsghdr *event = nlbus_run_event(run);
	u64 count = nlbus_lost_count(nlbus_event_hdr(event));

	nlbus_lost_use(bus, history, count);
	atomic64_add(count, &bus->counters.lost);
	trace_nlbus_lost(bus, event, nlbus_history_last(history), count);
	if (run->ack)
		nlbus_ack_number(run->ack, nlbus_history_last(history));
}

/**
 * nlbus_lost_tell() - have subscribers look for numbers that nothing follows
 * @lost: what used up numbers; empty afterwards
 * @sent: where to put it, for nlbus_run_sent_list()
 *
 * The bus's owner is the caller. Where an event follows, that shows the gap. Doesn't
 * sleep.
 */
void nlbus_lost_tell(struct list_head *lost, struct list_head *sent)
{
	struct nlbus_run *run;

	list_for_each_entry(run, lost, link)
		if (run->topic->history.skipped && !READ_ONCE(run->topic->dead))
			nlbus_moves_changed(run->topic);
	list_splice_tail_init(lost, sent);
}

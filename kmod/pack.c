// SPDX-License-Identifier: GPL-2.0
/*
 * Packed broadcast. Each receiver is charged a datagram's whole allocation, and
 * takes or drops it whole: so events share one, but one of bounded size.
 *
 * Only the bus's owner is here.
 */
#include <linux/mm.h>
#include <linux/netlink.h>
#include <linux/sched.h>
#include <linux/sched/clock.h>
#include <linux/skbuff.h>
#include <linux/slab.h>
#include <net/netlink.h>
#include <net/sock.h>

#include "bus.h"
#include "lost.h"
#include "pack.h"
#include "params.h"
#include "reply.h"
#include "run.h"
#include "topic.h"
#include "trace.h"

/* Of so many broadcasts one is measured, and each while they are slow. */
#define NLBUS_PACK_MEASURE	8

/**
 * nlbus_packs_start() - make an empty pack for each group
 * @packs: the packs
 *
 * Return: 0 or -ENOMEM.
 */
int nlbus_packs_start(struct nlbus_packs *packs)
{
	unsigned int group;

	packs->of = kvcalloc(nlbus_params.groups + 1, sizeof(*packs->of),
			     GFP_KERNEL_ACCOUNT);
	if (!packs->of)
		return -ENOMEM;
	for (group = 0; group <= nlbus_params.groups; group++) {
		INIT_LIST_HEAD(&packs->of[group].runs);
		INIT_LIST_HEAD(&packs->of[group].waiting);
	}
	INIT_LIST_HEAD(&packs->waiting);
	INIT_LIST_HEAD(&packs->lost);
	return 0;
}

/**
 * nlbus_packs_free() - undo nlbus_packs_start()
 * @packs: the packs, flushed or never started
 */
void nlbus_packs_free(struct nlbus_packs *packs)
{
	kvfree(packs->of);
	packs->of = NULL;
}

/* Copies the @count runs behind @first into a datagram of @len bytes. */
static struct sk_buff *nlbus_pack_build(struct list_head *first,
					unsigned int count, u32 len, gfp_t gfp)
{
	struct nlbus_run *run = list_entry(first, struct nlbus_run, link);
	struct sk_buff *skb;
	void *copy;

	skb = alloc_skb(len, gfp);
	if (!skb)
		return NULL;

	do {
		run = list_next_entry(run, link);
		copy = skb_put_data(skb, run->data, run->len);
	} while (--count);
	nlbus_event_last(copy, run->len)->nlmsg_flags &= ~NLM_F_MULTI;
	return skb;
}

/**
 * nlbus_pack_broadcast() - broadcast a datagram
 * @bus: the bus, whose owner is the caller
 * @group: whom to
 * @skb: the datagram; the caller's reference stays the caller's
 *
 * Doesn't sleep.
 *
 * Return: whether every socket took it, as far as they have that counted
 * (NETLINK_BROADCAST_ERROR).
 */
bool nlbus_pack_broadcast(struct nlbus_bus *bus, u32 group, struct sk_buff *skb)
{
	struct nlbus_packs *packs = &bus->packs;
	bool measure, taken = true;
	u64 began = 0;

	/* Reading the clock twice takes a tenth of the work. */
	measure = packs->broadcasts++ % NLBUS_PACK_MEASURE == 0 ||
		  packs->broadcast_ns >= NLBUS_PACK_SLOW_NS;
	if (measure)
		began = local_clock();
	NETLINK_CB(skb).dst_group = group;
	atomic64_inc(&bus->counters.broadcasts);

	/* The caller's reference makes netlink clone it for every receiver: else
	 * the first one gets this very skb, and its socket filter may cut what the
	 * others are to get. GFP_ATOMIC, because with a blocking one
	 * netlink_broadcast() yields to receivers that are half full.
	 * -ESRCH says that nobody was there.
	 */
	skb_get(skb);
	if (netlink_broadcast(bus->sk, skb, 0, group, GFP_ATOMIC) == -ENOBUFS) {
		atomic64_inc(&bus->counters.overruns);
		taken = false;
	}
	trace_nlbus_broadcast(bus, group, skb->len, taken);
	if (measure)
		packs->broadcast_ns = local_clock() - began;
	return taken;
}

/**
 * nlbus_pack_count() - count events that were broadcast for their topic
 * @topic: the topic
 * @count: how many
 * @taken: as nlbus_pack_broadcast() returned
 */
void nlbus_pack_count(struct nlbus_topic *topic, u32 count, bool taken)
{
	atomic64_set(&topic->broadcast,
		     atomic64_read(&topic->broadcast) + count);
	if (!taken)
		atomic64_set(&topic->dropped,
			     atomic64_read(&topic->dropped) + count);
}

/* Broadcasts the @count runs behind @first in a datagram of @len bytes. Return:
 * false if there was no memory for it.
 */
static bool nlbus_pack_send_runs(struct nlbus_bus *bus, u32 group,
				 struct list_head *first, unsigned int count,
				 u32 len, gfp_t gfp)
{
	struct nlbus_run *run = list_entry(first, struct nlbus_run, link);
	struct sk_buff *skb = nlbus_pack_build(first, count, len, gfp);
	bool taken;

	if (!skb)
		return false;
	taken = nlbus_pack_broadcast(bus, group, skb);
	consume_skb(skb);
	while (count--) {
		run = list_next_entry(run, link);
		nlbus_pack_count(run->topic, run->count, taken);
	}
	return true;
}

/* Broadcasts all of a pack: in one datagram if there is memory for it, else in
 * several smaller ones. A run for which there is none even alone is lost to the
 * group; its members learn it from their sockets, as nothing else would wake them.
 */
static void nlbus_pack_send(struct nlbus_bus *bus, u32 group,
			    struct list_head *runs)
{
	struct list_head *first = runs;
	u32 max = nlbus_params.pack;

	while (!list_is_last(first, runs)) {
		struct nlbus_run *run = list_entry(first, struct nlbus_run,
						   link);
		struct list_head *last = first;
		unsigned int count = 0;
		u32 len = 0;

		list_for_each_entry_continue(run, runs, link) {
			if (count && len + run->len > max)
				break;
			len += run->len;
			count++;
			last = &run->link;
		}

		/* Patient only with what can't be made smaller. */
		if (!nlbus_pack_send_runs(bus, group, first, count, len,
					  count > 1 ?
					  GFP_KERNEL | __GFP_NORETRY | __GFP_NOWARN :
					  GFP_KERNEL | __GFP_NOWARN)) {
			if (count > 1) {
				max = len / 2;
				continue;
			}
			run = list_next_entry(list_entry(first, struct nlbus_run,
							 link), link);
			trace_nlbus_drop(bus, run->topic->name,
					 run->topic->name_len, run->count, 0);
			netlink_set_err(bus->sk, 0, group, -ENOMEM);
		}
		first = last;
	}
}

/**
 * nlbus_pack_wanted() - whether there is anybody to broadcast to
 * @bus: the bus, where the new heads are published
 * @group: the group
 *
 * A client joins, then reads the head: so either it is seen here, or it sees these
 * events in the head.
 *
 * Return: true if so.
 */
bool nlbus_pack_wanted(struct nlbus_bus *bus, u32 group)
{
	smp_mb(); /* heads first; pairs with the client's system calls */
	return netlink_has_listeners(bus->sk, group);
}

/* Empties a pack. Its runs are to be finished with. */
static void nlbus_pack_sent(struct nlbus_pack *pack, struct list_head *sent)
{
	list_splice_tail_init(&pack->runs, sent);
	pack->count = 0;
	pack->len = 0;
	list_del_init(&pack->waiting);
}

static void nlbus_pack_flush(struct nlbus_bus *bus, u32 group)
{
	struct nlbus_pack *pack = &bus->packs.of[group];
	LIST_HEAD(sent);

	if (nlbus_pack_wanted(bus, group))
		nlbus_pack_send(bus, group, &pack->runs);
	nlbus_pack_sent(pack, &sent);
	nlbus_run_sent_list(bus->sk, &sent);

	/* A broadcast takes as long as there are sockets and filters on them, and
	 * a turn of the bus thread may have a thousand.
	 */
	cond_resched();
}

/**
 * nlbus_pack_add() - let events wait for the next broadcast
 * @bus: the bus
 * @run: the events, numbered; the reference to them is taken over
 */
void nlbus_pack_add(struct nlbus_bus *bus, struct nlbus_run *run)
{
	u32 group = READ_ONCE(run->topic->group); /* behind its number */
	struct nlbus_pack *pack = &bus->packs.of[group];

	if (!run->count) {
		list_add_tail(&run->link, &bus->packs.lost);
		return;
	}
	if (pack->len && pack->len + run->len > nlbus_params.pack)
		nlbus_pack_flush(bus, group);
	list_add_tail(&run->link, &pack->runs);
	pack->count++;
	pack->len += run->len;
	if (list_empty(&pack->waiting))
		list_add_tail(&pack->waiting, &bus->packs.waiting);
}

static struct nlbus_pack *nlbus_packs_first(struct nlbus_packs *packs)
{
	return list_first_entry_or_null(&packs->waiting, struct nlbus_pack,
					waiting);
}

/**
 * nlbus_packs_flush() - broadcast all that waits, and send the acks
 * @bus: the bus
 */
void nlbus_packs_flush(struct nlbus_bus *bus)
{
	struct nlbus_pack *pack;
	LIST_HEAD(sent);

	while ((pack = nlbus_packs_first(&bus->packs)))
		nlbus_pack_flush(bus, pack - bus->packs.of);
	if (list_empty(&bus->packs.lost))
		return;
	nlbus_lost_tell(&bus->packs.lost, &sent);
	nlbus_run_sent_list(bus->sk, &sent);
}

/**
 * nlbus_packs_flush_now() - broadcast what waits, without sleeping
 * @bus: the bus
 * @sent: where to put what was broadcast, for nlbus_run_sent_list()
 *
 * Return: whether that was all; if not, there was no memory or no time, and the
 * rest goes on waiting.
 */
bool nlbus_packs_flush_now(struct nlbus_bus *bus, struct list_head *sent)
{
	struct nlbus_packs *packs = &bus->packs;
	struct nlbus_pack *pack;
	u64 began = 0;

	while ((pack = nlbus_packs_first(packs))) {
		u32 group = pack - packs->of;

		/* The first one costs no look at the clock: mostly it is alone. */
		if (began && local_clock() - began >= NLBUS_PACK_SLOW_NS)
			return false;
		if (nlbus_pack_wanted(bus, group) &&
		    !nlbus_pack_send_runs(bus, group, &pack->runs, pack->count,
					  pack->len, GFP_ATOMIC | __GFP_NOWARN))
			return false;
		nlbus_pack_sent(pack, sent);
		if (!began && nlbus_packs_first(packs))
			began = local_clock();
	}
	if (!list_empty(&packs->lost))
		nlbus_lost_tell(&packs->lost, sent);
	return true;
}

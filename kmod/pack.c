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
#include "pack.h"
#include "params.h"
#include "record.h"
#include "reply.h"
#include "topic.h"

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
		INIT_LIST_HEAD(&packs->of[group].records);
		INIT_LIST_HEAD(&packs->of[group].waiting);
	}
	INIT_LIST_HEAD(&packs->waiting);
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

/* Copies the first @count records into a datagram of @len bytes. */
static struct sk_buff *nlbus_pack_build(struct list_head *records,
					unsigned int count, u32 len, gfp_t gfp)
{
	struct nlbus_record *record;
	struct nlmsghdr *last = NULL;
	struct sk_buff *skb;

	skb = alloc_skb(len, gfp);
	if (!skb)
		return NULL;

	list_for_each_entry(record, records, link) {
		if (!count--)
			break;
		last = (struct nlmsghdr *)skb_tail_pointer(skb);
		skb_put_data(skb, &record->msg, nlbus_record_len(record));
	}
	last->nlmsg_flags &= ~NLM_F_MULTI;
	return skb;
}

/* Return: whether every socket took it, as far as they have that counted
 * (NETLINK_BROADCAST_ERROR).
 */
static bool nlbus_pack_broadcast(struct nlbus_bus *bus, u32 group,
				 struct sk_buff *skb)
{
	u64 began = local_clock();
	bool taken = true;

	NETLINK_CB(skb).dst_group = group;
	atomic64_inc(&bus->counters.broadcasts);

	/* A second reference makes netlink clone it for every receiver: else the
	 * first one gets this very skb, and its socket filter may cut what the
	 * others are to get. GFP_ATOMIC, because with a blocking one
	 * netlink_broadcast() yields to receivers that are half full.
	 * -ESRCH says that nobody was there.
	 */
	skb_get(skb);
	if (netlink_broadcast(bus->sk, skb, 0, group, GFP_ATOMIC) == -ENOBUFS) {
		atomic64_inc(&bus->counters.overruns);
		taken = false;
	}
	consume_skb(skb);
	bus->packs.broadcast_ns = local_clock() - began;
	return taken;
}

/* Counts the @count records behind @first, which were sent, for their topics. */
static void nlbus_pack_count(struct list_head *first, struct list_head *records,
			     unsigned int count, bool taken)
{
	struct nlbus_record *record = list_entry(first, struct nlbus_record,
						 link);

	list_for_each_entry_continue(record, records, link) {
		struct nlbus_topic *topic = record->topic;

		if (!count--)
			break;
		atomic64_set(&topic->broadcast,
			     atomic64_read(&topic->broadcast) + 1);
		if (!taken)
			atomic64_set(&topic->dropped,
				     atomic64_read(&topic->dropped) + 1);
	}
}

/* Broadcasts all of a pack: in one datagram if there is memory for it, else in
 * several smaller ones. An event for which there is none even alone is lost to
 * the group; its members learn it from their sockets, as nothing else would
 * wake them.
 */
static void nlbus_pack_send(struct nlbus_bus *bus, u32 group,
			    struct list_head *records)
{
	struct list_head *first = records;
	u32 max = nlbus_params.pack;

	while (!list_is_last(first, records)) {
		struct nlbus_record *record = list_entry(first,
							 struct nlbus_record,
							 link);
		struct list_head *last = first;
		struct sk_buff *skb;
		unsigned int count = 0;
		u32 len = 0;

		list_for_each_entry_continue(record, records, link) {
			if (count && len + nlbus_record_len(record) > max)
				break;
			len += nlbus_record_len(record);
			count++;
			last = &record->link;
		}

		/* Patient only with what can't be made smaller. */
		skb = nlbus_pack_build(first, count, len,
				       count > 1 ?
				       GFP_KERNEL | __GFP_NORETRY | __GFP_NOWARN :
				       GFP_KERNEL | __GFP_NOWARN);
		if (!skb && count > 1) {
			max = len / 2;
			continue;
		}
		if (skb)
			nlbus_pack_count(first, records, count,
					 nlbus_pack_broadcast(bus, group, skb));
		else
			netlink_set_err(bus->sk, 0, group, -ENOMEM);
		first = last;
	}
}

static void nlbus_pack_flush(struct nlbus_bus *bus, u32 group)
{
	struct nlbus_pack *pack = &bus->packs.of[group];
	struct nlbus_record *record, *next;

	/* The new heads are published. A client joins, then reads the head: so
	 * either it is seen here, or it sees these events in the head.
	 */
	smp_mb();
	if (netlink_has_listeners(bus->sk, group))
		nlbus_pack_send(bus, group, &pack->records);

	list_for_each_entry_safe(record, next, &pack->records, link)
		nlbus_record_sent(bus->sk, record);
	INIT_LIST_HEAD(&pack->records);
	pack->len = 0;
	list_del_init(&pack->waiting);

	/* A broadcast takes as long as there are sockets and filters on them, and
	 * a turn of the bus thread may have a thousand.
	 */
	cond_resched();
}

/**
 * nlbus_pack_add() - let an event wait for the next broadcast
 * @bus: the bus
 * @record: the event, sequenced; its reference is taken over
 */
void nlbus_pack_add(struct nlbus_bus *bus, struct nlbus_record *record)
{
	u32 group = record->topic->group;
	struct nlbus_pack *pack = &bus->packs.of[group];

	if (pack->len && pack->len + nlbus_record_len(record) > nlbus_params.pack)
		nlbus_pack_flush(bus, group);
	list_add_tail(&record->link, &pack->records);
	pack->len += nlbus_record_len(record);
	if (list_empty(&pack->waiting))
		list_add_tail(&pack->waiting, &bus->packs.waiting);
}

/**
 * nlbus_packs_flush() - broadcast all that waits, and send the acks
 * @bus: the bus
 */
void nlbus_packs_flush(struct nlbus_bus *bus)
{
	struct nlbus_pack *pack;

	while ((pack = list_first_entry_or_null(&bus->packs.waiting,
						struct nlbus_pack, waiting)))
		nlbus_pack_flush(bus, pack - bus->packs.of);
}

/**
 * nlbus_pack_now() - broadcast one event alone
 * @bus: the bus, none of whose packs waits
 * @record: the event, sequenced; its reference stays the caller's
 *
 * Doesn't sleep.
 *
 * Return: false if there was no memory for it; then nothing was done.
 */
bool nlbus_pack_now(struct nlbus_bus *bus, struct nlbus_record *record)
{
	u32 group = record->topic->group;
	struct sk_buff *skb;
	LIST_HEAD(records);

	smp_mb(); /* as in nlbus_pack_flush() */
	if (!netlink_has_listeners(bus->sk, group))
		return true;
	list_add(&record->link, &records);
	skb = nlbus_pack_build(&records, 1, nlbus_record_len(record),
			       GFP_ATOMIC | __GFP_NOWARN);
	if (skb)
		nlbus_pack_count(&records, &records, 1,
				 nlbus_pack_broadcast(bus, group, skb));
	list_del_init(&record->link);
	return skb;
}

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Packs: events that wait for the same group go out in one datagram.
 */
#ifndef _NLBUS_PACK_H
#define _NLBUS_PACK_H

#include <linux/list.h>
#include <linux/time64.h>
#include <linux/types.h>

struct nlbus_bus;
struct nlbus_run;
struct nlbus_topic;
struct sk_buff;

/* A broadcast that takes as long is slow: it isn't done without preemption. */
#define NLBUS_PACK_SLOW_NS	(200 * NSEC_PER_USEC)

/**
 * struct nlbus_pack - what waits to be broadcast to one group
 * @runs: events, in order
 * @count: how many runs
 * @len: bytes of their messages
 * @waiting: in &nlbus_packs.waiting, unless it is empty
 */
struct nlbus_pack {
	struct list_head runs;
	u32 count;
	u32 len;
	struct list_head waiting;
};

/**
 * struct nlbus_packs - the packs of a bus; its owner's
 * @of: by group, from 1
 * @waiting: those that aren't empty, in the order in which they began
 * @lost: what used up numbers, and has nothing to be broadcast. It is finished
 *        with behind what waits, as an ack of it is one of what came before, too.
 * @broadcasts: how many there were
 * @broadcast_ns: what one takes, as last measured
 */
struct nlbus_packs {
	struct nlbus_pack *of;
	struct list_head waiting;
	struct list_head lost;
	u32 broadcasts;
	u64 broadcast_ns;
};

int nlbus_packs_start(struct nlbus_packs *packs);
void nlbus_packs_free(struct nlbus_packs *packs);
void nlbus_pack_add(struct nlbus_bus *bus, struct nlbus_run *run);
void nlbus_packs_flush(struct nlbus_bus *bus);
bool nlbus_packs_flush_now(struct nlbus_bus *bus, struct list_head *sent);
bool nlbus_pack_wanted(struct nlbus_bus *bus, u32 group);
bool nlbus_pack_broadcast(struct nlbus_bus *bus, u32 group,
			  struct sk_buff *skb);
void nlbus_pack_count(struct nlbus_topic *topic, u32 count, bool taken);

static inline bool nlbus_packs_empty(const struct nlbus_packs *packs)
{
	return list_empty_careful(&packs->waiting);
}

#endif /* _NLBUS_PACK_H */

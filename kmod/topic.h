/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Topics: names, their ids and groups. They live as long as their bus.
 */
#ifndef _NLBUS_TOPIC_H
#define _NLBUS_TOPIC_H

#include <linux/atomic.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/siphash.h>
#include <linux/types.h>
#include <linux/uidgid.h>
#include <linux/xarray.h>

#include "history.h"

struct nlbus_bus;

/* Topics that are found again without their secret hash. */
#define NLBUS_TOPICS_RECENT	32

/**
 * struct nlbus_topic - one topic
 * @node: in &nlbus_topics.by_name
 * @prepared: in &nlbus_topics.prepared, until it is committed
 * @hash: of the name
 * @id: from 1
 * @group: multicast group, several topics share one
 * @mode: who may read and write, as chmod(2)
 * @uid: owner
 * @gid: owning group
 * @history: what it keeps
 * @broadcast: events sent to the group; written by the bus's owner
 * @dropped: of these, not taken by some socket that asks for it; written likewise
 * @replayed: events sent out of history
 * @name_len: bytes of the name
 * @name: the name, not terminated, but with its padding
 */
struct nlbus_topic {
	struct hlist_node node;
	struct list_head prepared;
	u64 hash;
	u32 id;
	u32 group;
	u16 mode;
	kuid_t uid;
	kgid_t gid;
	struct nlbus_history history;
	atomic64_t broadcast;
	atomic64_t dropped;
	atomic64_t replayed;
	u8 name_len;
	u8 name[];
};

/**
 * struct nlbus_topics - all topics of a bus
 * @lock: makes creators take turns; look-ups need no lock
 * @by_name: hash table, lists of topics
 * @bits: 1 << @bits lists
 * @key: what makes the hash secret, so that nobody can choose names that
 *       collide
 * @recent: of those that processes published to, the last one of each slot, or
 *          NULL; who makes names share a slot makes himself do without
 * @by_id: topics by id
 * @prepared: topics that the holder of @lock is about to create
 * @n_prepared: how many
 * @last_id: the newest topic's id; also how many there are, as none ever goes
 * @next_group: which group the next one gets
 * @group_end: groups below it are assigned
 */
struct nlbus_topics {
	struct mutex lock; /* creators */
	struct hlist_head *by_name;
	unsigned int bits;
	siphash_key_t key;
	struct nlbus_topic *recent[NLBUS_TOPICS_RECENT];
	struct xarray by_id;
	struct list_head prepared;
	u32 n_prepared;
	u32 last_id;
	u32 next_group;
	u32 group_end;
};

void nlbus_topics_init(struct nlbus_topics *topics);
int nlbus_topics_start(struct nlbus_topics *topics);
void nlbus_topics_free(struct nlbus_topics *topics);

struct nlbus_topic *nlbus_topic_by_name(struct nlbus_topics *topics,
					const u8 *name, u8 len);
struct nlbus_topic *nlbus_topic_recent(const struct nlbus_topics *topics,
				       const u8 *name, u32 len);
struct nlbus_topic *nlbus_topic_of_publish(struct nlbus_topics *topics,
					   const u8 *name, u32 len);
struct nlbus_topic *nlbus_topic_by_id(struct nlbus_topics *topics, u32 id);
struct nlbus_topic *nlbus_topic_prepare(struct nlbus_topics *topics,
					const u8 *name, u8 len);
void nlbus_topics_commit(struct nlbus_bus *bus);
void nlbus_topics_abort(struct nlbus_topics *topics);

/* Whether a group may be joined: the broker's own always may. */
static inline bool nlbus_topics_group_assigned(const struct nlbus_topics *topics,
					       u32 group)
{
	return group < READ_ONCE(topics->group_end);
}

/* The newest topic's id: all up to it are there to be found. */
static inline u32 nlbus_topics_last_id(const struct nlbus_topics *topics)
{
	return smp_load_acquire(&topics->last_id); /* see nlbus_topics_commit() */
}

#endif /* _NLBUS_TOPIC_H */

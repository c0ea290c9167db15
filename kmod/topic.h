/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Topics: names, their ids, and who uses them.
 */
#ifndef _NLBUS_TOPIC_H
#define _NLBUS_TOPIC_H

#include <linux/atomic.h>
#include <linux/list.h>
#include <linux/llist.h>
#include <linux/mutex.h>
#include <linux/refcount.h>
#include <linux/siphash.h>
#include <linux/types.h>
#include <linux/xarray.h>
#include <uapi/linux/nlbus.h>

#include "access.h"
#include "group.h"
#include "history.h"

struct nlbus_bus;
struct nlbus_refusal;
struct nlbus_share;

/* Topics that are found again without their secret hash. */
#define NLBUS_TOPICS_RECENT	32

/**
 * struct nlbus_topic - one topic
 * @node: in &nlbus_topics.by_name
 * @link: in &nlbus_topics.prepared, until it is committed; in &nlbus_moves.left
 *        once it was deleted and nobody uses it any more
 * @moved: in &nlbus_moves.moved while it is to be announced that it moved or ended
 * @rcu: for who found it without a reference
 * @bus: the bus
 * @refs: one for being there to be found, one for each run that isn't broadcast
 *        yet, one for each look-up
 * @dead: it was deleted, and isn't to be found again
 * @hash: of the name
 * @id: from 1; 0 for one that didn't come about
 * @group: multicast group; several topics share one that all may read
 * @access: who may read and write; changed under &nlbus_topics.lock and the
 *          history's lock, as is @group
 * @history: what it keeps
 * @broadcast: events sent to the group; written by the bus's owner
 * @dropped: of these, not taken by some socket that asks for it; written likewise
 * @replayed: events sent out of history
 * @unnumbered: events that kernel code dropped, whose numbers aren't used up yet
 * @dropper: in &nlbus_kernel.droppers, with a reference, while @drops is set
 * @drops: whether it is in there
 * @end: one more than its last number once it has ended, else 0; the bus thread's
 * @type_len: bytes of @type, 0 for not known
 * @type: what its values are called; changed under &nlbus_topics.lock and the
 *        history's lock
 * @name_len: bytes of the name
 * @name: the name, not terminated, but with its padding
 */
struct nlbus_topic {
	struct hlist_node node;
	struct list_head link;
	struct list_head moved;
	struct rcu_head rcu;
	struct nlbus_bus *bus;
	refcount_t refs;
	bool dead;
	u64 hash;
	u32 id;
	u32 group;
	struct nlbus_access access;
	struct nlbus_history history;
	atomic64_t broadcast;
	atomic64_t dropped;
	atomic64_t replayed;
	atomic_long_t unnumbered;
	struct llist_node dropper;
	atomic_t drops;
	u64 end;
	u8 type_len;
	u8 type[NLBUS_TYPE_MAX];
	u8 name_len;
	u8 name[];
};

/**
 * struct nlbus_topics - all topics of a bus
 * @lock: makes take turns who creates, changes and deletes; look-ups need no lock
 * @by_name: hash table, lists of topics
 * @bits: 1 << @bits lists
 * @key: what makes the hash secret, so that nobody can choose names that
 *       collide
 * @recent: of those that processes published to, the last one of each slot, or
 *          NULL; who makes names share a slot makes himself do without
 * @by_id: topics by id
 * @groups: which groups they have
 * @prepared: topics that the holder of @lock is about to create
 * @n_prepared: how many
 * @count: how many topics there are
 * @last_id: the newest topic's id
 */
struct nlbus_topics {
	struct mutex lock; /* creators */
	struct hlist_head *by_name;
	unsigned int bits;
	siphash_key_t key;
	struct nlbus_topic *recent[NLBUS_TOPICS_RECENT];
	struct xarray by_id;
	struct nlbus_groups groups;
	struct list_head prepared;
	u32 n_prepared;
	u32 count;
	u32 last_id;
};

void nlbus_topics_init(struct nlbus_topics *topics);
int nlbus_topics_start(struct nlbus_topics *topics);
void nlbus_topics_free(struct nlbus_bus *bus);

struct nlbus_topic *nlbus_topic_by_name(struct nlbus_topics *topics,
					const u8 *name, u8 len);
struct nlbus_topic *nlbus_topic_of_kernel(struct nlbus_topics *topics,
					  const u8 *name, u8 len);
struct nlbus_topic *nlbus_topic_recent(const struct nlbus_topics *topics,
				       const u8 *name, u32 len);
struct nlbus_topic *nlbus_topic_of_publish(struct nlbus_topics *topics,
					   const u8 *name, u32 len);
struct nlbus_topic *nlbus_topic_by_id(struct nlbus_topics *topics, u32 id);
struct nlbus_topic *nlbus_topic_above(struct nlbus_topics *topics, u32 id,
				      u32 last_id);
void nlbus_topic_put(struct nlbus_topic *topic);

int nlbus_topic_refuse_full(struct nlbus_refusal *refusal, const u8 *name,
			    u32 len);
struct nlbus_topic *nlbus_topic_prepare(struct nlbus_bus *bus, const u8 *name,
					u8 len,
					const struct nlbus_access *access,
					struct nlbus_share *share,
					struct nlbus_refusal *refusal);
void nlbus_topics_commit(struct nlbus_bus *bus);
void nlbus_topics_abort(struct nlbus_topics *topics);
void nlbus_topic_delete(struct nlbus_topic *topic);

/* Gets a reference to a topic that was found; NULL for one that is being ended. */
static inline struct nlbus_topic *nlbus_topic_hold(struct nlbus_topic *topic)
{
	return topic && refcount_inc_not_zero(&topic->refs) ? topic : NULL;
}

static inline void nlbus_topic_get(struct nlbus_topic *topic)
{
	refcount_inc(&topic->refs);
}

/* The newest topic's id: all up to it that still exist are there to be found. */
static inline u32 nlbus_topics_last_id(const struct nlbus_topics *topics)
{
	return smp_load_acquire(&topics->last_id); /* see nlbus_topics_commit() */
}

/* How many topics there are: all that are counted are there to be found. */
static inline u32 nlbus_topics_count(const struct nlbus_topics *topics)
{
	return smp_load_acquire(&topics->count); /* see nlbus_topics_commit() */
}

#endif /* _NLBUS_TOPIC_H */

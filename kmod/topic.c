// SPDX-License-Identifier: GPL-2.0
/*
 * Topics are created all of a datagram or none: they are prepared, which may
 * fail, and then committed, which can't. They are found without locks, and live as
 * long as somebody who found them uses them: what becomes of those that are
 * deleted, moves.c tells.
 */
#include <linux/err.h>
#include <linux/hash.h>
#include <linux/log2.h>
#include <linux/mm.h>
#include <linux/random.h>
#include <linux/rculist.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <uapi/linux/nlbus.h>

#include "bus.h"
#include "moves.h"
#include "name.h"
#include "params.h"
#include "refusal.h"
#include "run.h"
#include "share.h"
#include "topic.h"

/* Runs of a history that are let go of before others have their turn. */
#define NLBUS_TOPICS_CUT	1024

/**
 * nlbus_topics_init() - make an empty set, which holds nothing to free
 * @topics: the set
 */
void nlbus_topics_init(struct nlbus_topics *topics)
{
	mutex_init(&topics->lock);
	xa_init_flags(&topics->by_id, XA_FLAGS_ACCOUNT);
	INIT_LIST_HEAD(&topics->prepared);
	nlbus_groups_init(&topics->groups);
}

/**
 * nlbus_topics_start() - get ready for the first topic
 * @topics: the set
 *
 * Return: 0 or -ENOMEM.
 */
int nlbus_topics_start(struct nlbus_topics *topics)
{
	unsigned int lists = roundup_pow_of_two(max(nlbus_params.topics / 4, 64U));

	topics->by_name = kvcalloc(lists, sizeof(*topics->by_name),
				   GFP_KERNEL_ACCOUNT);
	if (!topics->by_name || nlbus_groups_start(&topics->groups)) {
		kvfree(topics->by_name);
		return -ENOMEM;
	}
	topics->bits = ilog2(lists);
	get_random_bytes(&topics->key, sizeof(topics->key));
	return 0;
}

/**
 * nlbus_topics_free() - let all topics go, with what they keep
 * @bus: the bus, whose topics nobody uses any more; without any afterwards
 */
void nlbus_topics_free(struct nlbus_bus *bus)
{
	struct nlbus_topics *topics = &bus->topics;
	struct nlbus_topic *topic;
	unsigned long id;

	nlbus_moves_free(bus);
	xa_for_each(&topics->by_id, id, topic) {
		u32 most = 0;

		do {
			most = NLBUS_TOPICS_CUT;
			nlbus_run_free_list(&bus->dead);
			cond_resched();
		} while (!nlbus_history_end(bus, &topic->history, &most));
		nlbus_share_remove_topic(topic->history.share);
		kfree(topic);
	}
	nlbus_run_free_list(&bus->dead);
	xa_destroy(&topics->by_id);
	nlbus_groups_free(&topics->groups);
	nlbus_shares_free(bus);
	kvfree(topics->by_name);
	topics->by_name = NULL;
	memset(topics->recent, 0, sizeof(topics->recent));
	topics->count = 0;
	topics->last_id = 0;
}

/**
 * nlbus_topic_put() - let go of a topic
 * @topic: the topic, or NULL; doesn't sleep
 */
void nlbus_topic_put(struct nlbus_topic *topic)
{
	if (!topic || !refcount_dec_and_test(&topic->refs))
		return;
	if (topic->id) {
		nlbus_moves_left(topic);
	} else {
		nlbus_share_remove_topic(topic->history.share);
		kfree(topic);
	}
}

static struct nlbus_topic *nlbus_topic_find(struct nlbus_topics *topics,
					    u64 hash, const u8 *name, u8 len)
{
	struct nlbus_topic *topic;

	hlist_for_each_entry_rcu(topic, &topics->by_name[hash >> (64 - topics->bits)],
				 node, lockdep_is_held(&topics->lock))
		if (topic->hash == hash && topic->name_len == len &&
		    !memcmp(topic->name, name, len))
			return topic;
	return NULL;
}

/**
 * nlbus_topic_of_kernel() - find a topic, from any context but NMI
 * @topics: the set, of a bus that is started
 * @name: its name
 * @len: bytes of it
 *
 * Called within an RCU read section: to let go of a reference takes process context.
 *
 * Return: the topic, which stays as long as that section, or NULL.
 */
struct nlbus_topic *nlbus_topic_of_kernel(struct nlbus_topics *topics,
					  const u8 *name, u8 len)
{
	return nlbus_topic_find(topics, siphash(name, len, &topics->key), name,
				len);
}

/**
 * nlbus_topic_by_name() - find a topic
 * @topics: the set
 * @name: its name
 * @len: bytes of it
 *
 * Return: the topic with a reference, or NULL.
 */
struct nlbus_topic *nlbus_topic_by_name(struct nlbus_topics *topics,
					const u8 *name, u8 len)
{
	struct nlbus_topic *topic;

	rcu_read_lock();
	topic = nlbus_topic_hold(nlbus_topic_of_kernel(topics, name, len));
	rcu_read_unlock();
	return topic;
}

static u32 nlbus_topic_slot(const u8 *name, u32 len)
{
	u64 hash = 0;
	u32 at;

	for (at = 0; at < len; at += 8)
		hash = (hash ^ nlbus_name_word(name, len, at)) * GOLDEN_RATIO_64;
	return hash >> (64 - ilog2(NLBUS_TOPICS_RECENT));
}

/**
 * nlbus_topic_recent() - find a topic that a process published to a short while ago
 * @topics: the set
 * @name: its name, with its padding; needn't be checked
 * @len: bytes of it, 1 to NLBUS_TOPIC_MAX
 *
 * Called within an RCU read section.
 *
 * Return: the topic, which stays as long as that section, deleted as it may be
 * meanwhile; NULL for not known by heart.
 */
struct nlbus_topic *nlbus_topic_recent(const struct nlbus_topics *topics,
				       const u8 *name, u32 len)
{
	struct nlbus_topic *const *slot = &topics->recent[nlbus_topic_slot(name, len)];
	struct nlbus_topic *topic = smp_load_acquire(slot); /* its name is there */

	/* A deleted one may be in its slot for a moment. */
	if (topic && topic->name_len == len && !READ_ONCE(topic->dead) &&
	    nlbus_name_equal(topic->name, name, len))
		return topic;
	return NULL;
}

static void nlbus_topic_forget(struct nlbus_topics *topics,
			       struct nlbus_topic *topic)
{
	cmpxchg(&topics->recent[nlbus_topic_slot(topic->name, topic->name_len)],
		topic, NULL);
}

/* Has a topic known by heart. The caller's reference keeps it from being freed for
 * as long as it may be in its slot though it was deleted: either that is seen
 * here, or the deletion sees the slot.
 */
static void nlbus_topic_remember(struct nlbus_topics *topics,
				 struct nlbus_topic *topic)
{
	u32 slot = nlbus_topic_slot(topic->name, topic->name_len);

	smp_store_release(&topics->recent[slot], topic); /* see nlbus_topic_recent() */
	smp_mb(); /* pairs with nlbus_topic_delete() */
	if (READ_ONCE(topic->dead))
		nlbus_topic_forget(topics, topic);
}

/**
 * nlbus_topic_of_publish() - find the topic of a publish
 * @topics: the set
 * @name: its name, with its padding, checked to be one that processes may
 *        publish to
 * @len: bytes of it
 *
 * Return: the topic with a reference, or NULL.
 */
struct nlbus_topic *nlbus_topic_of_publish(struct nlbus_topics *topics,
					   const u8 *name, u32 len)
{
	struct nlbus_topic *topic;

	rcu_read_lock();
	topic = nlbus_topic_hold(nlbus_topic_recent(topics, name, len));
	rcu_read_unlock();
	if (topic)
		return topic;
	topic = nlbus_topic_by_name(topics, name, len);
	if (topic)
		nlbus_topic_remember(topics, topic);
	return topic;
}

/**
 * nlbus_topic_by_id() - find a topic
 * @topics: the set
 * @id: its id
 *
 * Return: the topic with a reference, or NULL.
 */
struct nlbus_topic *nlbus_topic_by_id(struct nlbus_topics *topics, u32 id)
{
	struct nlbus_topic *topic;

	rcu_read_lock();
	topic = nlbus_topic_hold(xa_load(&topics->by_id, id));
	rcu_read_unlock();
	return topic;
}

/**
 * nlbus_topic_above() - find the next topic
 * @topics: the set
 * @id: the id before
 * @last_id: the highest one that is wanted
 *
 * Return: of the topics above @id the one with the lowest id, with a reference; or
 * NULL.
 */
struct nlbus_topic *nlbus_topic_above(struct nlbus_topics *topics, u32 id,
				      u32 last_id)
{
	struct nlbus_topic *topic = NULL, *found;
	unsigned long at = id;

	rcu_read_lock();
	do {
		found = xa_find_after(&topics->by_id, &at, last_id, XA_PRESENT);
		topic = nlbus_topic_hold(found);
	} while (found && !topic);
	rcu_read_unlock();
	return topic;
}

/**
 * nlbus_topic_refuse_full() - refuse a topic that is one too many
 * @refusal: filled in
 * @name: its name
 * @len: bytes of it
 *
 * Return: -ENOSPC.
 */
int nlbus_topic_refuse_full(struct nlbus_refusal *refusal, const u8 *name,
			    u32 len)
{
	return nlbus_refusal_set(refusal, -ENOSPC,
				 "topic '%.*s': the bus has its limit of %u topics, or what of it is left is for the privileged",
				 len, name, nlbus_params.topics);
}

/* Counts a topic that is about to be created. */
static int nlbus_topic_count(struct nlbus_topics *topics,
			     struct nlbus_share *share, const u8 *name, u8 len,
			     struct nlbus_refusal *refusal)
{
	u32 limit = nlbus_params.topics;

	if (share)
		limit -= NLBUS_SHARE_RESERVE(limit);
	/* Ids are never used again, so they may be used up, too. */
	if (topics->count + topics->n_prepared >= limit ||
	    topics->last_id >= U32_MAX - topics->n_prepared)
		return nlbus_topic_refuse_full(refusal, name, len);
	return share ? nlbus_share_add_topic(share, name, len, refusal) : 0;
}

/* Makes a topic whose id is reserved, without a name. */
static struct nlbus_topic *nlbus_topic_new(struct nlbus_topics *topics,
					   struct nlbus_share *share, u8 len)
{
	struct nlbus_topic *topic;

	topic = kzalloc(struct_size(topic, name, ALIGN(len, NLBUS_TOPIC_ALIGNTO)),
			GFP_KERNEL_ACCOUNT);
	if (!topic)
		return NULL;
	topic->id = topics->last_id + topics->n_prepared + 1;
	if (xa_reserve(&topics->by_id, topic->id, GFP_KERNEL_ACCOUNT)) {
		kfree(topic);
		return NULL;
	}
	refcount_set(&topic->refs, 1);
	INIT_LIST_HEAD(&topic->moved);
	nlbus_history_init(&topic->history, nlbus_params.topic_history, share);
	list_add_tail(&topic->link, &topics->prepared);
	topics->n_prepared++;
	return topic;
}

/* Finds a topic among those that are there or are about to be; under the lock. */
static struct nlbus_topic *nlbus_topic_find_any(struct nlbus_topics *topics,
						u64 hash, const u8 *name,
						u8 len)
{
	struct nlbus_topic *topic;

	topic = nlbus_topic_find(topics, hash, name, len);
	if (topic)
		return topic;
	list_for_each_entry(topic, &topics->prepared, link)
		if (topic->hash == hash && topic->name_len == len &&
		    !memcmp(topic->name, name, len))
			return topic;
	return NULL;
}

/**
 * nlbus_topic_prepare() - find a topic, or prepare to create it
 * @bus: the bus, the lock of whose topics the caller holds until it has committed
 *       or aborted
 * @name: the topic's name, checked
 * @len: bytes of it
 * @access: who may read and write it if it is created
 * @share: its creator's, or NULL if it is to count for nobody
 * @refusal: says why, unless it is there or prepared; or NULL
 *
 * Return: the topic with a reference; -ENOSPC for one too many, or one that takes
 * a private group where none is left, -EDQUOT if that is so for its creator;
 * -ENOMEM.
 */
struct nlbus_topic *nlbus_topic_prepare(struct nlbus_bus *bus, const u8 *name,
					u8 len,
					const struct nlbus_access *access,
					struct nlbus_share *share,
					struct nlbus_refusal *refusal)
{
	struct nlbus_topics *topics = &bus->topics;
	u64 hash = siphash(name, len, &topics->key);
	struct nlbus_topic *topic;
	int group = 0, err;

	lockdep_assert_held(&topics->lock);

	topic = nlbus_topic_find_any(topics, hash, name, len);
	if (topic) {
		nlbus_topic_get(topic);
		return topic;
	}

	err = nlbus_topic_count(topics, share, name, len, refusal);
	if (err)
		return ERR_PTR(err);
	if (!nlbus_access_all(access, NLBUS_READ)) {
		group = nlbus_group_private(&topics->groups, share);
		if (group < 0) {
			nlbus_share_remove_topic(share);
			return ERR_PTR(nlbus_group_refuse(refusal, group, name,
							  len));
		}
	}
	topic = nlbus_topic_new(topics, share, len);
	if (!topic) {
		nlbus_group_give_back(&topics->groups, group, share);
		nlbus_share_remove_topic(share);
		return ERR_PTR(nlbus_refusal_set(refusal, -ENOMEM,
						 "topic '%.*s': no memory to create it",
						 len, name));
	}
	topic->bus = bus;
	topic->hash = hash;
	topic->group = group;
	topic->access = *access;
	topic->name_len = len;
	memcpy(topic->name, name, len);
	nlbus_topic_get(topic);
	return topic;
}

/**
 * nlbus_topics_commit() - create what was prepared
 * @bus: the bus, the lock of whose topics the caller holds
 */
void nlbus_topics_commit(struct nlbus_bus *bus)
{
	struct nlbus_topics *topics = &bus->topics;
	struct nlbus_topic *topic, *next;

	lockdep_assert_held(&topics->lock);

	list_for_each_entry_safe(topic, next, &topics->prepared, link) {
		list_del_init(&topic->link);
		if (!topic->group)
			topic->group = nlbus_group_shared(&topics->groups);
		nlbus_group_open(&topics->groups, topic, topic->group);

		/* Into the reserved slot, which takes no memory. */
		xa_store(&topics->by_id, topic->id, topic, 0);
		hlist_add_head_rcu(&topic->node,
				   &topics->by_name[topic->hash >> (64 - topics->bits)]);

		/* Found first, changed then: see nlbus_history_append(). */
		spin_lock(&topic->history.lock);
		topic->history.change = atomic64_inc_return(&bus->change);
		spin_unlock(&topic->history.lock);
		smp_store_release(&topics->last_id, topic->id); /* now it is there */
	}
	/* They are there: see nlbus_topics_count(). */
	smp_store_release(&topics->count, topics->count + topics->n_prepared);
	topics->n_prepared = 0;

	/* $SYS/topics. There is no thread yet for the broker's own topics. */
	if (bus->queue.reader)
		wake_up_process(bus->queue.reader);
}

/**
 * nlbus_topics_abort() - forget what was prepared
 * @topics: the set, whose lock the caller holds
 */
void nlbus_topics_abort(struct nlbus_topics *topics)
{
	struct nlbus_topic *topic, *next;

	lockdep_assert_held(&topics->lock);

	list_for_each_entry_safe(topic, next, &topics->prepared, link) {
		xa_release(&topics->by_id, topic->id);
		nlbus_group_give_back(&topics->groups, topic->group,
				      topic->history.share);
		topic->id = 0;
		nlbus_topic_put(topic);
	}
	INIT_LIST_HEAD(&topics->prepared);
	topics->n_prepared = 0;
}

/**
 * nlbus_topic_delete() - have a topic not found any more
 * @topic: the topic, the lock of whose bus's topics the caller holds, and a
 *         reference besides; not deleted before
 *
 * Once nobody uses it any more it ends.
 */
void nlbus_topic_delete(struct nlbus_topic *topic)
{
	struct nlbus_topics *topics = &topic->bus->topics;

	lockdep_assert_held(&topics->lock);

	hlist_del_rcu(&topic->node);
	xa_erase(&topics->by_id, topic->id);
	nlbus_group_retire(&topics->groups, topic->group);
	WRITE_ONCE(topics->count, topics->count - 1);
	nlbus_share_topic_deleted(topic->history.share);

	WRITE_ONCE(topic->dead, true);
	smp_mb(); /* pairs with nlbus_topic_remember() */
	nlbus_topic_forget(topics, topic);

	nlbus_moves_deleted(topic);
	nlbus_topic_put(topic);
}

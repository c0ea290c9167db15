// SPDX-License-Identifier: GPL-2.0
/*
 * Topics are created all of a datagram or none: they are prepared, which may
 * fail, and then committed, which can't.
 */
#include <linux/cred.h>
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
#include "name.h"
#include "params.h"
#include "topic.h"

/* Until topics can be given modes, everyone may read and write. */
#define NLBUS_TOPIC_MODE	0666

/**
 * nlbus_topics_init() - make an empty set, which holds nothing to free
 * @topics: the set
 */
void nlbus_topics_init(struct nlbus_topics *topics)
{
	mutex_init(&topics->lock);
	xa_init_flags(&topics->by_id, XA_FLAGS_ACCOUNT);
	INIT_LIST_HEAD(&topics->prepared);
	topics->next_group = NLBUS_GROUP_FIRST;
	topics->group_end = NLBUS_GROUP_FIRST;
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
	if (!topics->by_name)
		return -ENOMEM;
	topics->bits = ilog2(lists);
	get_random_bytes(&topics->key, sizeof(topics->key));
	return 0;
}

/**
 * nlbus_topics_free() - let all topics go, with what they keep
 * @topics: the set, which nobody uses any more; empty afterwards
 */
void nlbus_topics_free(struct nlbus_topics *topics)
{
	struct nlbus_topic *topic;
	unsigned long id;

	xa_for_each(&topics->by_id, id, topic) {
		nlbus_history_free(&topic->history);
		kfree(topic);
		cond_resched();
	}
	xa_destroy(&topics->by_id);
	kvfree(topics->by_name);
	topics->by_name = NULL;
	memset(topics->recent, 0, sizeof(topics->recent));
	topics->last_id = 0;
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
 * nlbus_topic_by_name() - find a topic
 * @topics: the set
 * @name: its name
 * @len: bytes of it
 *
 * Return: the topic, which stays as long as the bus, or NULL.
 */
struct nlbus_topic *nlbus_topic_by_name(struct nlbus_topics *topics,
					const u8 *name, u8 len)
{
	u64 hash = siphash(name, len, &topics->key);
	struct nlbus_topic *topic;

	rcu_read_lock();
	topic = nlbus_topic_find(topics, hash, name, len);
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
 * Return: the topic, which stays as long as the bus; NULL for not known by heart.
 */
struct nlbus_topic *nlbus_topic_recent(const struct nlbus_topics *topics,
				       const u8 *name, u32 len)
{
	struct nlbus_topic *const *slot = &topics->recent[nlbus_topic_slot(name, len)];
	struct nlbus_topic *topic = smp_load_acquire(slot); /* its name is there */

	if (topic && topic->name_len == len &&
	    nlbus_name_equal(topic->name, name, len))
		return topic;
	return NULL;
}

/**
 * nlbus_topic_of_publish() - find the topic of a publish
 * @topics: the set
 * @name: its name, with its padding, checked to be one that processes may
 *        publish to
 * @len: bytes of it
 *
 * Return: the topic, which stays as long as the bus, or NULL.
 */
struct nlbus_topic *nlbus_topic_of_publish(struct nlbus_topics *topics,
					   const u8 *name, u32 len)
{
	struct nlbus_topic *topic = nlbus_topic_recent(topics, name, len);
	struct nlbus_topic **slot;

	if (topic)
		return topic;
	topic = nlbus_topic_by_name(topics, name, len);
	slot = &topics->recent[nlbus_topic_slot(name, len)];
	if (topic)
		smp_store_release(slot, topic); /* see nlbus_topic_recent() */
	return topic;
}

/**
 * nlbus_topic_by_id() - find a topic
 * @topics: the set
 * @id: its id
 *
 * Return: the topic, which stays as long as the bus, or NULL.
 */
struct nlbus_topic *nlbus_topic_by_id(struct nlbus_topics *topics, u32 id)
{
	return xa_load(&topics->by_id, id);
}

/**
 * nlbus_topic_prepare() - find a topic, or prepare to create it
 * @topics: the set, whose lock the caller holds until it has committed or
 *          aborted
 * @name: its name, checked
 * @len: bytes of it
 *
 * Return: the topic, -ENOSPC for one too many, or -ENOMEM.
 */
struct nlbus_topic *nlbus_topic_prepare(struct nlbus_topics *topics,
					const u8 *name, u8 len)
{
	u64 hash = siphash(name, len, &topics->key);
	struct nlbus_topic *topic;

	lockdep_assert_held(&topics->lock);

	topic = nlbus_topic_find(topics, hash, name, len);
	if (topic)
		return topic;
	list_for_each_entry(topic, &topics->prepared, prepared)
		if (topic->hash == hash && topic->name_len == len &&
		    !memcmp(topic->name, name, len))
			return topic;

	if (topics->last_id + topics->n_prepared >= nlbus_params.topics)
		return ERR_PTR(-ENOSPC);

	topic = kzalloc(struct_size(topic, name, ALIGN(len, NLBUS_TOPIC_ALIGNTO)),
			GFP_KERNEL_ACCOUNT);
	if (!topic)
		return ERR_PTR(-ENOMEM);
	topic->id = topics->last_id + topics->n_prepared + 1;
	if (xa_reserve(&topics->by_id, topic->id, GFP_KERNEL_ACCOUNT)) {
		kfree(topic);
		return ERR_PTR(-ENOMEM);
	}
	topic->hash = hash;
	topic->mode = NLBUS_TOPIC_MODE;
	current_fsuid_fsgid(&topic->uid, &topic->gid); /* as of a file */
	nlbus_history_init(&topic->history, nlbus_params.topic_history);
	topic->name_len = len;
	memcpy(topic->name, name, len);

	list_add_tail(&topic->prepared, &topics->prepared);
	topics->n_prepared++;
	return topic;
}

/* Topics that everyone may read share groups, in turn: as none ever goes, all
 * groups stay equally loaded.
 */
static u32 nlbus_topic_group(struct nlbus_topics *topics)
{
	u32 group = topics->next_group++;

	if (topics->group_end <= group)
		WRITE_ONCE(topics->group_end, group + 1);
	if (topics->next_group > nlbus_params.groups)
		topics->next_group = NLBUS_GROUP_FIRST;
	return group;
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

	list_for_each_entry_safe(topic, next, &topics->prepared, prepared) {
		list_del_init(&topic->prepared);
		if (!topic->group)
			topic->group = nlbus_topic_group(topics);

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

	list_for_each_entry_safe(topic, next, &topics->prepared, prepared) {
		xa_release(&topics->by_id, topic->id);
		kfree(topic);
	}
	INIT_LIST_HEAD(&topics->prepared);
	topics->n_prepared = 0;
}

// SPDX-License-Identifier: GPL-2.0
/*
 * The lower groups are shared by topics that everybody may read. The upper ones
 * are private: each carries one topic that not everybody may, is left by it when
 * somebody loses the right to read, and never used again.
 */
#include <linux/errno.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <uapi/linux/nlbus.h>

#include "access.h"
#include "bus.h"
#include "group.h"
#include "params.h"
#include "refusal.h"
#include "share.h"
#include "topic.h"

/* The first private group; all above are private, too. */
static u32 nlbus_group_first_private(void)
{
	return nlbus_params.groups - nlbus_params.private_groups + 1;
}

static bool nlbus_group_is_private(u32 group)
{
	return group >= nlbus_group_first_private();
}

/**
 * nlbus_groups_init() - have none assigned
 * @groups: the groups
 */
void nlbus_groups_init(struct nlbus_groups *groups)
{
	groups->next = NLBUS_GROUP_FIRST;
	groups->end = NLBUS_GROUP_FIRST;
}

/**
 * nlbus_groups_start() - get ready for the first topic
 * @groups: the groups
 *
 * Return: 0 or -ENOMEM.
 */
int nlbus_groups_start(struct nlbus_groups *groups)
{
	groups->of = kvcalloc(nlbus_params.private_groups, sizeof(*groups->of),
			      GFP_KERNEL_ACCOUNT);
	return groups->of ? 0 : -ENOMEM;
}

/**
 * nlbus_groups_free() - undo nlbus_groups_start()
 * @groups: the groups, which nobody joins any more
 */
void nlbus_groups_free(struct nlbus_groups *groups)
{
	kvfree(groups->of);
	groups->of = NULL;
}

/**
 * nlbus_group_shared() - assign a group to a topic that everybody may read
 * @groups: the groups
 *
 * Return: the group: each in turn, so they are about equally loaded.
 */
u32 nlbus_group_shared(struct nlbus_groups *groups)
{
	u32 group = groups->next++;

	if (groups->end <= group)
		WRITE_ONCE(groups->end, group + 1);
	if (nlbus_group_is_private(groups->next))
		groups->next = NLBUS_GROUP_FIRST;
	return group;
}

/**
 * nlbus_group_private() - take a group for a topic that not everybody may read
 * @groups: the groups
 * @share: whose it is to count for, and be held by for good; or NULL
 *
 * Return: the group, which nobody can join until it is open; -ENOSPC if all were
 * used, -EDQUOT if he used up his.
 */
int nlbus_group_private(struct nlbus_groups *groups, struct nlbus_share *share)
{
	u32 limit = nlbus_params.private_groups;

	if (share)
		limit -= NLBUS_SHARE_RESERVE(limit);
	if (groups->used >= limit)
		return -ENOSPC;
	if (share && share->groups >= nlbus_params.user_private_groups)
		return -EDQUOT;
	if (share) {
		share->groups++;
		nlbus_share_hold(share);
	}
	WRITE_ONCE(groups->used, groups->used + 1);
	return nlbus_group_first_private() + groups->used - 1;
}

/**
 * nlbus_group_refuse() - refuse what there is no private group for
 * @refusal: filled in
 * @err: of nlbus_group_private()
 * @name: the topic's name
 * @len: bytes of it
 *
 * Return: @err.
 */
int nlbus_group_refuse(struct nlbus_refusal *refusal, int err, const u8 *name,
		       u32 len)
{
	if (err == -EDQUOT)
		return nlbus_refusal_set(refusal, err,
					 "topic '%.*s': not all may read it, so it takes a private group, and you used %u, as many as one user may (module parameter user_private_groups)",
					 len, name,
					 nlbus_params.user_private_groups);
	return nlbus_refusal_set(refusal, err,
				 "topic '%.*s': not all may read it, so it takes a private group, and all %u were used, or what is left is for the privileged (module parameter private_groups)",
				 len, name, nlbus_params.private_groups);
}

/**
 * nlbus_group_give_back() - give back a group that was never opened
 * @groups: the groups
 * @group: the one that was taken last, if it is a private one
 * @share: who it counted for, or NULL
 */
void nlbus_group_give_back(struct nlbus_groups *groups, u32 group,
			   struct nlbus_share *share)
{
	if (!nlbus_group_is_private(group))
		return;
	WRITE_ONCE(groups->used, groups->used - 1);
	if (share) {
		share->groups--;
		nlbus_share_put(share);
	}
}

/**
 * nlbus_group_open() - let those join a group who may read its topic
 * @groups: the groups
 * @topic: the topic
 * @group: its group, or the one that it is about to get
 */
void nlbus_group_open(struct nlbus_groups *groups, struct nlbus_topic *topic,
		      u32 group)
{
	if (nlbus_group_is_private(group))
		rcu_assign_pointer(groups->of[group - nlbus_group_first_private()],
				   topic);
}

/**
 * nlbus_group_retire() - let nobody join a group any more that its topic has left
 * @groups: the groups
 * @group: the group; nothing happens to a shared one
 */
void nlbus_group_retire(struct nlbus_groups *groups, u32 group)
{
	if (nlbus_group_is_private(group))
		RCU_INIT_POINTER(groups->of[group - nlbus_group_first_private()],
				 NULL);
}

/**
 * nlbus_group_may_join() - whether the calling task may join a group
 * @bus: the bus, started
 * @group: the group, from 1; the broker's own always may be joined
 *
 * Return: 0; -ENOENT for one that no topic has, or has any more; -EACCES if its
 * topic may not be read.
 */
int nlbus_group_may_join(struct nlbus_bus *bus, u32 group)
{
	const struct nlbus_groups *groups = &bus->topics.groups;
	struct nlbus_caller caller;
	struct nlbus_topic *topic;
	int err = -ENOENT;

	if (!nlbus_group_is_private(group))
		return group < READ_ONCE(groups->end) ? 0 : -ENOENT;

	nlbus_caller_current(&caller, bus);
	rcu_read_lock();
	topic = rcu_dereference(groups->of[group - nlbus_group_first_private()]);
	if (topic)
		err = nlbus_caller_may(&caller, topic, NLBUS_READ) ? 0 : -EACCES;
	rcu_read_unlock();
	return err;
}

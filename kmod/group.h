/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Multicast groups, and who may join them. Members can't be evicted: so a group
 * carries only what all of its members may read, now and later.
 */
#ifndef _NLBUS_GROUP_H
#define _NLBUS_GROUP_H

#include <linux/rcupdate.h>
#include <linux/types.h>

struct nlbus_bus;
struct nlbus_refusal;
struct nlbus_share;
struct nlbus_topic;

/**
 * struct nlbus_groups - which groups carry what; written under &nlbus_topics.lock
 * @next: which shared group the next topic gets
 * @end: shared groups below it are assigned
 * @used: how many private groups ever were, in turn
 * @of: the topics of these, NULL once it has left
 */
struct nlbus_groups {
	u32 next;
	u32 end;
	u32 used;
	struct nlbus_topic __rcu **of;
};

void nlbus_groups_init(struct nlbus_groups *groups);
int nlbus_groups_start(struct nlbus_groups *groups);
void nlbus_groups_free(struct nlbus_groups *groups);
u32 nlbus_group_shared(struct nlbus_groups *groups);
int nlbus_group_private(struct nlbus_groups *groups, struct nlbus_share *share);
int nlbus_group_refuse(struct nlbus_refusal *refusal, int err, const u8 *name,
		       u32 len);
void nlbus_group_give_back(struct nlbus_groups *groups, u32 group,
			   struct nlbus_share *share);
void nlbus_group_open(struct nlbus_groups *groups, struct nlbus_topic *topic,
		      u32 group);
void nlbus_group_retire(struct nlbus_groups *groups, u32 group);
int nlbus_group_may_join(struct nlbus_bus *bus, u32 group);

#endif /* _NLBUS_GROUP_H */

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What a user has on one bus.
 */
#ifndef _NLBUS_SHARE_H
#define _NLBUS_SHARE_H

#include <linux/types.h>

#include "history.h"

struct nlbus_account;
struct nlbus_bus;
struct nlbus_refusal;

/* Of a bus's topics, histories and private groups, what users leave to the
 * privileged, to whom no quota applies, and to kernel code.
 */
#define NLBUS_SHARE_RESERVE(limit)	((limit) / 8)

/**
 * struct nlbus_share - what a user has on one bus
 * @account: the user, with a reference
 * @bus: the bus
 * @refs: one for each topic and each private group, one for each look-up; under the
 *        lock of &nlbus_bus.shares
 * @groups: private groups that he used up; under &nlbus_topics.lock
 * @trim: the histories of his topics that have something to give; the owner's
 */
struct nlbus_share {
	struct nlbus_account *account;
	struct nlbus_bus *bus;
	u32 refs;
	u32 groups;
	struct nlbus_trim trim;
};

struct nlbus_share *nlbus_share_get(struct nlbus_bus *bus);
void nlbus_share_hold(struct nlbus_share *share);
void nlbus_share_put(struct nlbus_share *share);
void nlbus_shares_free(struct nlbus_bus *bus);
int nlbus_share_refuse(struct nlbus_refusal *refusal, int err);
int nlbus_share_add_topic(struct nlbus_share *share, const u8 *name, u32 len,
			  struct nlbus_refusal *refusal);
void nlbus_share_remove_topic(struct nlbus_share *share);
void nlbus_share_topic_deleted(struct nlbus_share *share);
void nlbus_share_topic_freed(struct nlbus_share *share);

#endif /* _NLBUS_SHARE_H */

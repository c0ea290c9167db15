/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Quotas: each user may have a part of what there is, on all buses together.
 *
 * Whose namespace it is that he has, or how many he makes, changes nothing: he is
 * known by his user id in the initial user namespace. Within a user namespace that
 * somebody else than the super-user made, whoever it is counts as who made it; with
 * one that the super-user made, all within it count as one user.
 */
#ifndef _NLBUS_ACCOUNT_H
#define _NLBUS_ACCOUNT_H

#include <linux/atomic.h>
#include <linux/list.h>
#include <linux/refcount.h>
#include <linux/types.h>
#include <linux/uidgid.h>

#include "room.h"

struct user_namespace;

/* What all users together may have, on all buses, in terms of what one bus may
 * have.
 */
#define NLBUS_ACCOUNT_BUSES	4

/* Bytes of what an account is called in an error. */
#define NLBUS_ACCOUNT_NAME	32

/* Bytes of newest events that each user may keep at least, whatever the limit. */
#define NLBUS_ACCOUNT_SPARE	(4UL << 20)

/**
 * struct nlbus_usage - what is used on all buses
 * @topics: topics that were created, and not deleted
 * @wills: last wills that were left, and neither taken back nor published
 * @history: bytes of histories, of deleted topics' too until these end
 * @queue: bytes in publish queues
 */
struct nlbus_usage {
	atomic_t topics;
	atomic_t wills;
	atomic_long_t history;
	struct nlbus_room queue;
};

/**
 * struct nlbus_account - a user
 * @node: in the table of all
 * @refs: one for each share, one for each run that is queued, one for each look-up
 * @id: never used again
 * @uid: the user; invalid for a namespace
 * @user_ns: a user namespace that the super-user made, with a reference; or NULL
 * @usage: what he has
 * @dead: topics that he created, that were deleted, and are not freed yet
 */
struct nlbus_account {
	struct hlist_node node;
	refcount_t refs;
	unsigned long id;
	kuid_t uid;
	struct user_namespace *user_ns;
	struct nlbus_usage usage;
	atomic_t dead;
};

void nlbus_accounts_init(void);
struct nlbus_account *nlbus_account_get(void);
struct nlbus_account *nlbus_account_hold(struct nlbus_account *account);
void nlbus_account_put(struct nlbus_account *account);
void nlbus_account_name(const struct nlbus_account *account,
			char name[NLBUS_ACCOUNT_NAME]);
unsigned int nlbus_account_rooms(struct nlbus_account *account,
				 struct nlbus_room *rooms[]);
int nlbus_account_add_topic(struct nlbus_account *account);
void nlbus_account_remove_topic(struct nlbus_account *account);
void nlbus_account_topic_deleted(struct nlbus_account *account);
void nlbus_account_topic_freed(struct nlbus_account *account);
int nlbus_account_add_will(struct nlbus_account *account, u32 more);
void nlbus_account_remove_will(struct nlbus_account *account);
int nlbus_account_wait(struct nlbus_account *account);
void nlbus_account_keep(struct nlbus_account *account, long bytes);
bool nlbus_account_keeps_more(const struct nlbus_account *account, size_t spare);
size_t nlbus_account_spare(void);

#endif /* _NLBUS_ACCOUNT_H */

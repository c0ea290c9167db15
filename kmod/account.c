// SPDX-License-Identifier: GPL-2.0
/*
 * Users, each there as long as he has anything.
 */
#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/err.h>
#include <linux/errno.h>
#include <linux/hash.h>
#include <linux/hashtable.h>
#include <linux/kernel.h>
#include <linux/minmax.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/string.h>
#include <linux/user_namespace.h>
#include <linux/wait.h>

#include "account.h"
#include "params.h"
#include "queue.h"

static DEFINE_HASHTABLE(nlbus_accounts, 8);

/* Guards the table, and that who is found in it has references. */
static DEFINE_SPINLOCK(nlbus_accounts_lock);

/* What all of them have together. */
static struct nlbus_usage nlbus_account_all;

/* Who waits until fewer of his topics are dead. */
static DECLARE_WAIT_QUEUE_HEAD(nlbus_account_fewer);

static void nlbus_usage_init(struct nlbus_usage *usage, size_t queue)
{
	atomic_set(&usage->topics, 0);
	atomic_long_set(&usage->history, 0);
	nlbus_room_init(&usage->queue, queue);
}

/**
 * nlbus_accounts_init() - get ready for the first user
 *
 * Called once the parameters are known.
 */
void nlbus_accounts_init(void)
{
	nlbus_usage_init(&nlbus_account_all,
			 min_t(u64, (u64)nlbus_params.queue *
				    NLBUS_ACCOUNT_BUSES, LONG_MAX));
}

/* Who has to answer for a task: either a user or a namespace. */
struct nlbus_payer {
	kuid_t uid;
	struct user_namespace *user_ns;
};

static void nlbus_payer_current(struct nlbus_payer *payer)
{
	struct user_namespace *user_ns = current_user_ns();

	payer->uid = current_uid();
	payer->user_ns = NULL;
	if (user_ns == &init_user_ns)
		return;
	/* The outermost one: what is made within is its maker's, too. */
	while (user_ns->parent != &init_user_ns)
		user_ns = user_ns->parent;
	if (uid_eq(user_ns->owner, GLOBAL_ROOT_UID)) {
		payer->uid = INVALID_UID;
		payer->user_ns = user_ns;
	} else {
		payer->uid = user_ns->owner;
	}
}

static u32 nlbus_payer_hash(const struct nlbus_payer *payer)
{
	u64 key = (unsigned long)payer->user_ns;

	return hash_64(key ^ __kuid_val(payer->uid), 32);
}

/**
 * nlbus_account_hold() - get another reference to an account
 * @account: the account
 *
 * Return: the account.
 */
struct nlbus_account *nlbus_account_hold(struct nlbus_account *account)
{
	refcount_inc(&account->refs);
	return account;
}

/* Finds who answers; under the lock. */
static struct nlbus_account *nlbus_account_find(const struct nlbus_payer *payer)
{
	struct nlbus_account *account;

	hash_for_each_possible(nlbus_accounts, account, node,
			       nlbus_payer_hash(payer))
		if (account->user_ns == payer->user_ns &&
		    uid_eq(account->uid, payer->uid))
			return nlbus_account_hold(account);
	return NULL;
}

static struct nlbus_account *nlbus_account_add(const struct nlbus_payer *payer)
{
	static unsigned long last_id; /* under the lock */
	struct nlbus_account *account, *found;

	account = kzalloc(sizeof(*account), GFP_KERNEL_ACCOUNT);
	if (!account)
		return ERR_PTR(-ENOMEM);
	refcount_set(&account->refs, 1);
	account->uid = payer->uid;
	account->user_ns = payer->user_ns;
	nlbus_usage_init(&account->usage, nlbus_params.user_queue);

	spin_lock(&nlbus_accounts_lock);
	found = nlbus_account_find(payer);
	if (!found) {
		account->id = last_id++;
		get_user_ns(account->user_ns);
		hash_add(nlbus_accounts, &account->node,
			 nlbus_payer_hash(payer));
	}
	spin_unlock(&nlbus_accounts_lock);
	if (!found)
		return account;
	kfree(account);
	return found;
}

/**
 * nlbus_account_get() - the account of the calling task
 *
 * Return: the account, with a reference; NULL for who is privileged, to whom no
 * quota applies; -ENOMEM.
 */
struct nlbus_account *nlbus_account_get(void)
{
	struct nlbus_account *account;
	struct nlbus_payer payer;

	if (ns_capable_noaudit(&init_user_ns, CAP_SYS_RESOURCE))
		return NULL;
	nlbus_payer_current(&payer);
	spin_lock(&nlbus_accounts_lock);
	account = nlbus_account_find(&payer);
	spin_unlock(&nlbus_accounts_lock);
	return account ?: nlbus_account_add(&payer);
}

/**
 * nlbus_account_put() - let go of an account
 * @account: the account, or NULL
 */
void nlbus_account_put(struct nlbus_account *account)
{
	bool last;

	if (!account || refcount_dec_not_one(&account->refs))
		return;
	spin_lock(&nlbus_accounts_lock);
	last = refcount_dec_and_test(&account->refs);
	if (last)
		hash_del(&account->node);
	spin_unlock(&nlbus_accounts_lock);
	if (!last)
		return;
	put_user_ns(account->user_ns);
	kfree(account);
}

/**
 * nlbus_account_name() - what to call a user in an error
 * @account: the user
 * @name: filled in
 */
void nlbus_account_name(const struct nlbus_account *account,
			char name[NLBUS_ACCOUNT_NAME])
{
	if (account->user_ns)
		strscpy(name, "a user namespace", NLBUS_ACCOUNT_NAME);
	else
		snprintf(name, NLBUS_ACCOUNT_NAME, "user %u",
			 from_kuid_munged(current_user_ns(), account->uid));
}

/**
 * nlbus_account_rooms() - where bytes in a publish queue count
 * @account: whose they are, or NULL for a privileged one's
 * @rooms: array of NLBUS_ROOMS, the first of which are filled in
 *
 * Return: how many.
 */
unsigned int nlbus_account_rooms(struct nlbus_account *account,
				 struct nlbus_room *rooms[])
{
	if (!account)
		return 0;
	rooms[0] = &account->usage.queue;
	rooms[1] = &nlbus_account_all.queue;
	return 2;
}

static bool nlbus_usage_add_topic(struct nlbus_usage *usage, u32 limit)
{
	if (atomic_inc_return(&usage->topics) <= limit)
		return true;
	atomic_dec(&usage->topics);
	return false;
}

/**
 * nlbus_account_add_topic() - count a topic
 * @account: its creator
 *
 * Return: 0; -EDQUOT if he has as many as one user may; -ENOSPC if all together
 * have as many as they may. Then it isn't counted.
 */
int nlbus_account_add_topic(struct nlbus_account *account)
{
	if (!nlbus_usage_add_topic(&account->usage, nlbus_params.user_topics))
		return -EDQUOT;
	if (nlbus_usage_add_topic(&nlbus_account_all,
				  nlbus_params.topics * NLBUS_ACCOUNT_BUSES))
		return 0;
	atomic_dec(&account->usage.topics);
	return -ENOSPC;
}

/**
 * nlbus_account_remove_topic() - undo nlbus_account_add_topic()
 * @account: the topic's creator
 */
void nlbus_account_remove_topic(struct nlbus_account *account)
{
	atomic_dec(&account->usage.topics);
	atomic_dec(&nlbus_account_all.topics);
}

static bool nlbus_usage_add_will(struct nlbus_usage *usage, u32 limit)
{
	if (atomic_inc_return(&usage->wills) <= limit)
		return true;
	atomic_dec(&usage->wills);
	return false;
}

/**
 * nlbus_account_add_will() - count a last will
 * @account: whose it is
 * @more: how many he may have beyond the limit: those that this one takes the place of
 *
 * Return: 0; -EDQUOT if he has as many as one user may, or all together as many as
 * they may. Then it isn't counted.
 */
int nlbus_account_add_will(struct nlbus_account *account, u32 more)
{
	if (!nlbus_usage_add_will(&account->usage,
				  nlbus_params.user_wills + more))
		return -EDQUOT;
	if (nlbus_usage_add_will(&nlbus_account_all,
				 nlbus_params.wills * NLBUS_ACCOUNT_BUSES + more))
		return 0;
	atomic_dec(&account->usage.wills);
	return -EDQUOT;
}

/**
 * nlbus_account_remove_will() - undo nlbus_account_add_will()
 * @account: whose it was
 */
void nlbus_account_remove_will(struct nlbus_account *account)
{
	atomic_dec(&account->usage.wills);
	atomic_dec(&nlbus_account_all.wills);
}

/**
 * nlbus_account_topic_deleted() - count a topic as one that takes memory still
 * @account: its creator
 */
void nlbus_account_topic_deleted(struct nlbus_account *account)
{
	nlbus_account_remove_topic(account);
	atomic_inc(&account->dead);
}

/**
 * nlbus_account_topic_freed() - undo nlbus_account_topic_deleted()
 * @account: the topic's creator
 */
void nlbus_account_topic_freed(struct nlbus_account *account)
{
	atomic_dec(&account->dead);
	wake_up(&nlbus_account_fewer);
}

/**
 * nlbus_account_wait() - wait until a user may delete another topic
 * @account: the user, or NULL for who is privileged, who needn't wait
 *
 * Return: 0, or -EINTR when a fatal signal struck.
 */
int nlbus_account_wait(struct nlbus_account *account)
{
	if (!account)
		return 0;
	return wait_event_killable(nlbus_account_fewer,
				   atomic_read(&account->dead) <
				   nlbus_params.user_topics) ?
		-EINTR : 0;
}

/**
 * nlbus_account_keep() - count what histories keep
 * @account: the creator of their topics
 * @bytes: how much more; negative for less
 */
void nlbus_account_keep(struct nlbus_account *account, long bytes)
{
	atomic_long_add(bytes, &account->usage.history);
	atomic_long_add(bytes, &nlbus_account_all.history);
}

static bool nlbus_usage_keeps_more(const struct nlbus_usage *usage, u64 bytes)
{
	return (u64)atomic_long_read(&usage->history) > bytes;
}

/**
 * nlbus_account_keeps_more() - whether histories keep more than they may
 * @account: the creator of their topics
 * @spare: how much more doesn't matter
 *
 * Return: true if his do, or those of all users.
 */
bool nlbus_account_keeps_more(const struct nlbus_account *account, size_t spare)
{
	u64 all = (u64)nlbus_params.history * NLBUS_ACCOUNT_BUSES;

	return nlbus_usage_keeps_more(&account->usage,
				      (u64)nlbus_params.user_history + spare) ||
	       nlbus_usage_keeps_more(&nlbus_account_all,
				      all + (u64)spare * NLBUS_ACCOUNT_BUSES);
}

/**
 * nlbus_account_spare() - what histories may keep beyond their limits
 *
 * It is for the newest event of each topic, which is never let go.
 *
 * Return: bytes, a user's.
 */
size_t nlbus_account_spare(void)
{
	return max_t(size_t, nlbus_params.user_history, NLBUS_ACCOUNT_SPARE);
}

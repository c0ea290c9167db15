// SPDX-License-Identifier: GPL-2.0
/*
 * Who creates topics on a bus has a share in it: what counts for him on this bus
 * alone, and which histories are his, to give first when he keeps too much.
 */
#include <linux/err.h>
#include <linux/errno.h>
#include <linux/slab.h>
#include <linux/xarray.h>

#include "account.h"
#include "bus.h"
#include "group.h"
#include "params.h"
#include "refusal.h"
#include "share.h"

static struct nlbus_share *nlbus_share_find(struct nlbus_bus *bus,
					    const struct nlbus_account *account)
{
	struct nlbus_share *share;

	xa_lock(&bus->shares);
	share = xa_load(&bus->shares, account->id);
	if (share)
		share->refs++;
	xa_unlock(&bus->shares);
	return share;
}

static struct nlbus_share *nlbus_share_add(struct nlbus_bus *bus,
					   struct nlbus_account *account)
{
	struct nlbus_share *share;

	share = kzalloc(sizeof(*share), GFP_KERNEL_ACCOUNT);
	if (!share)
		return NULL;
	share->account = account;
	share->bus = bus;
	share->refs = 1;
	nlbus_trim_init(&share->trim);
	if (!xa_err(xa_store(&bus->shares, account->id, share,
			     GFP_KERNEL_ACCOUNT)))
		return share;
	kfree(share);
	return NULL;
}

/**
 * nlbus_share_get() - the calling task's share in a bus
 * @bus: the bus, the lock of whose topics the caller holds
 *
 * Return: the share, with a reference; NULL for who is privileged; -ENOMEM.
 */
struct nlbus_share *nlbus_share_get(struct nlbus_bus *bus)
{
	struct nlbus_account *account = nlbus_account_get();
	struct nlbus_share *share;

	lockdep_assert_held(&bus->topics.lock);

	if (IS_ERR_OR_NULL(account))
		return ERR_CAST(account);
	share = nlbus_share_find(bus, account);
	if (!share) {
		share = nlbus_share_add(bus, account);
		if (share)
			return share;
		share = ERR_PTR(-ENOMEM);
	}
	nlbus_account_put(account);
	return share;
}

/**
 * nlbus_share_refuse() - refuse what it isn't known who it would count for
 * @refusal: filled in
 * @err: of nlbus_share_get(), or nlbus_account_get()
 *
 * Return: @err.
 */
int nlbus_share_refuse(struct nlbus_refusal *refusal, int err)
{
	return nlbus_refusal_set(refusal, err, "no memory for another user");
}

static void nlbus_share_free(struct nlbus_share *share)
{
	nlbus_account_put(share->account);
	kfree(share);
}

/**
 * nlbus_share_hold() - get another reference to a share
 * @share: the share
 */
void nlbus_share_hold(struct nlbus_share *share)
{
	xa_lock(&share->bus->shares);
	share->refs++;
	xa_unlock(&share->bus->shares);
}

/**
 * nlbus_share_put() - let go of a share
 * @share: what nlbus_share_get() returned
 */
void nlbus_share_put(struct nlbus_share *share)
{
	struct xarray *shares;
	bool last;

	if (IS_ERR_OR_NULL(share))
		return;
	shares = &share->bus->shares;
	xa_lock(shares);
	last = !--share->refs;
	if (last)
		__xa_erase(shares, share->account->id);
	xa_unlock(shares);
	if (last)
		nlbus_share_free(share);
}

/**
 * nlbus_shares_free() - let all shares go
 * @bus: the bus, without topics
 */
void nlbus_shares_free(struct nlbus_bus *bus)
{
	struct nlbus_share *share;
	unsigned long id;

	/* Those whose private groups were used up are left. */
	xa_for_each(&bus->shares, id, share)
		nlbus_share_free(share);
	xa_destroy(&bus->shares);
}

/**
 * nlbus_share_add_topic() - count a topic, which holds the share from then on
 * @share: its creator's
 * @name: its name
 * @len: bytes of it
 * @refusal: says why, if it is one too many
 *
 * Return: 0, -EDQUOT or -ENOSPC.
 */
int nlbus_share_add_topic(struct nlbus_share *share, const u8 *name, u32 len,
			  struct nlbus_refusal *refusal)
{
	int err = nlbus_account_add_topic(share->account);
	char who[NLBUS_ACCOUNT_NAME];

	if (err == -EDQUOT) {
		nlbus_account_name(share->account, who);
		return nlbus_refusal_set(refusal, err,
					 "topic '%.*s': %s created %u topics, on all buses, as many as one user may (module parameter user_topics)",
					 len, name, who,
					 nlbus_params.user_topics);
	}
	if (err)
		return nlbus_refusal_set(refusal, err,
					 "topic '%.*s': all users together created %u topics, on all buses, as many as they may (module parameter topics)",
					 len, name, nlbus_params.topics *
						    NLBUS_ACCOUNT_BUSES);
	nlbus_share_hold(share);
	return 0;
}

/**
 * nlbus_share_remove_topic() - undo nlbus_share_add_topic()
 * @share: the share, or NULL for a topic that doesn't count
 */
void nlbus_share_remove_topic(struct nlbus_share *share)
{
	if (!share)
		return;
	nlbus_account_remove_topic(share->account);
	nlbus_share_put(share);
}

/**
 * nlbus_share_topic_deleted() - count a topic as one that takes memory still
 * @share: the share, or NULL for a topic that doesn't count
 */
void nlbus_share_topic_deleted(struct nlbus_share *share)
{
	if (share)
		nlbus_account_topic_deleted(share->account);
}

/**
 * nlbus_share_topic_freed() - undo nlbus_share_topic_deleted()
 * @share: the share, or NULL for a topic that doesn't count
 */
void nlbus_share_topic_freed(struct nlbus_share *share)
{
	if (!share)
		return;
	nlbus_account_topic_freed(share->account);
	nlbus_share_put(share);
}

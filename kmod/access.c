// SPDX-License-Identifier: GPL-2.0
/*
 * Checks of who may do what. Capabilities are asked for last, because asking is
 * noted: that the task made use of one, and that it tried to.
 */
#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/fs.h>
#include <linux/net.h>
#include <linux/netlink.h>
#include <linux/sched.h>
#include <linux/spinlock.h>
#include <net/net_namespace.h>
#include <net/sock.h>

#include "access.h"
#include "bus.h"
#include "params.h"
#include "topic.h"

/**
 * nlbus_caller_current() - the calling task, alone
 * @caller: filled in
 * @bus: the bus
 */
void nlbus_caller_current(struct nlbus_caller *caller,
			  const struct nlbus_bus *bus)
{
	*caller = (struct nlbus_caller) {
		.who[0] = { .cred = current_cred(), .capable = -1 },
		.count = 1,
		.user_ns = bus->net->user_ns,
	};
}

/**
 * nlbus_caller_init() - who sends a datagram
 * @caller: filled in
 * @bus: the bus
 * @skb: the datagram, in the task that sends it
 */
void nlbus_caller_init(struct nlbus_caller *caller, const struct nlbus_bus *bus,
		       const struct sk_buff *skb)
{
	const struct file *opened = NETLINK_CB(skb).sk->sk_socket->file;

	nlbus_caller_current(caller, bus);
	/* A socket of the kernel's own has no file, so nobody opened it. */
	caller->who[1].cred = opened ? opened->f_cred : NULL;
	caller->who[1].opened = opened;
	caller->who[1].capable = opened ? -1 : 0;
	caller->count = 2;
}

static bool nlbus_who_capable(const struct nlbus_caller *caller,
			      struct nlbus_who *who)
{
	if (who->capable >= 0)
		return who->capable;
	if (who->opened)
		who->capable = file_ns_capable(who->opened, caller->user_ns,
					       CAP_NET_ADMIN);
	else if (caller->quiet)
		who->capable = ns_capable_noaudit(caller->user_ns,
						  CAP_NET_ADMIN);
	else
		who->capable = ns_capable(caller->user_ns, CAP_NET_ADMIN);
	return who->capable;
}

/**
 * nlbus_caller_keep() - who sends a datagram, to be asked when he is gone
 * @caller: filled in, with references for nlbus_caller_put()
 * @bus: the bus
 * @skb: the datagram, in the task that sent it
 *
 * What he is capable of is what he was capable of then.
 */
void nlbus_caller_keep(struct nlbus_caller *caller, const struct nlbus_bus *bus,
		       const struct sk_buff *skb)
{
	unsigned int i;

	nlbus_caller_init(caller, bus, skb);
	caller->quiet = true;
	for (i = 0; i < caller->count; i++) {
		struct nlbus_who *who = &caller->who[i];

		nlbus_who_capable(caller, who);
		who->opened = NULL;
		get_cred(who->cred);
	}
}

/**
 * nlbus_caller_put() - undo nlbus_caller_keep()
 * @caller: the caller
 */
void nlbus_caller_put(struct nlbus_caller *caller)
{
	unsigned int i;

	for (i = 0; i < caller->count; i++)
		put_cred(caller->who[i].cred);
}

/* As in_group_p(), for others than the calling task; groups_search() is no
 * module's to call.
 */
static bool nlbus_who_in_group(const struct nlbus_who *who, kgid_t gid)
{
	const struct group_info *groups;
	int low = 0, high, middle;

	if (!who->cred)
		return false;
	if (gid_eq(who->cred->fsgid, gid))
		return true;
	groups = who->cred->group_info; /* sorted: groups_sort() */
	high = groups->ngroups;
	while (low < high) {
		middle = low + (high - low) / 2;
		if (gid_eq(groups->gid[middle], gid))
			return true;
		if (gid_lt(groups->gid[middle], gid))
			low = middle + 1;
		else
			high = middle;
	}
	return false;
}

static bool nlbus_who_owns(const struct nlbus_who *who,
			   const struct nlbus_access *access)
{
	return who->cred && uid_eq(who->cred->fsuid, access->uid);
}

/* One class counts, as with a file: an owner whom the mode denies what it allows
 * to all others is denied it.
 */
static bool nlbus_who_may(const struct nlbus_who *who,
			  const struct nlbus_access *access, u16 what)
{
	u16 class = 0007;

	if (nlbus_who_owns(who, access))
		class = 0700;
	else if (nlbus_who_in_group(who, access->gid))
		class = 0070;
	return !(what & class & ~access->mode);
}

/* The three belong together, and may be changed at any time. */
static struct nlbus_access nlbus_access_of(struct nlbus_topic *topic)
{
	struct nlbus_access access;

	spin_lock(&topic->history.lock);
	access = topic->access;
	spin_unlock(&topic->history.lock);
	return access;
}

/**
 * nlbus_caller_may() - whether a topic may be read, or written to
 * @caller: by whom
 * @topic: the topic
 * @what: NLBUS_READ or NLBUS_WRITE
 *
 * Doesn't sleep.
 *
 * Return: true if so.
 */
bool nlbus_caller_may(struct nlbus_caller *caller, struct nlbus_topic *topic,
		      u16 what)
{
	struct nlbus_access access;
	unsigned int i;

	if (nlbus_access_all(&topic->access, what))
		return true;
	access = nlbus_access_of(topic);
	for (i = 0; i < caller->count; i++)
		if (!nlbus_who_may(&caller->who[i], &access, what) &&
		    !nlbus_who_capable(caller, &caller->who[i]))
			return false;
	return true;
}

/**
 * nlbus_caller_may_look() - whether somebody may be told of a topic
 * @caller: whom
 * @topic: the topic
 *
 * Return: true if he may read it, or owns it, so that its owner can see and change
 * a mode that shuts him out.
 */
bool nlbus_caller_may_look(struct nlbus_caller *caller,
			   struct nlbus_topic *topic)
{
	struct nlbus_access access;
	unsigned int i;

	if (nlbus_access_all(&topic->access, NLBUS_READ))
		return true;
	access = nlbus_access_of(topic);
	for (i = 0; i < caller->count; i++)
		if (!nlbus_who_owns(&caller->who[i], &access) &&
		    !nlbus_who_may(&caller->who[i], &access, NLBUS_READ) &&
		    !nlbus_who_capable(caller, &caller->who[i]))
			return false;
	return true;
}

/**
 * nlbus_caller_may_change() - whether a topic may be changed and deleted
 * @caller: by whom
 * @access: the topic's
 *
 * Return: true for its owner, and who administers the namespace's network.
 */
bool nlbus_caller_may_change(struct nlbus_caller *caller,
			     const struct nlbus_access *access)
{
	unsigned int i;

	for (i = 0; i < caller->count; i++)
		if (!nlbus_who_owns(&caller->who[i], access) &&
		    !nlbus_who_capable(caller, &caller->who[i]))
			return false;
	return true;
}

/**
 * nlbus_caller_may_give() - whether a topic may get another owner or group
 * @caller: from whom, who may change it
 * @from: whose it is
 * @to: whose it is to be
 *
 * As of a file: nobody can give away what is his, but to a group that he is in.
 *
 * Return: true if so.
 */
bool nlbus_caller_may_give(struct nlbus_caller *caller,
			   const struct nlbus_access *from,
			   const struct nlbus_access *to)
{
	bool other_owner = !uid_eq(from->uid, to->uid);
	bool other_group = !gid_eq(from->gid, to->gid);
	unsigned int i;

	for (i = 0; i < caller->count; i++) {
		bool takes = other_owner ||
			     (other_group &&
			      !nlbus_who_in_group(&caller->who[i], to->gid));

		if (takes && !nlbus_who_capable(caller, &caller->who[i]))
			return false;
	}
	return true;
}

/**
 * nlbus_sender_may() - whether a topic may be read, or written to
 * @bus: the bus
 * @skb: by who sends this datagram, in the task that sends it
 * @topic: the topic
 * @what: NLBUS_READ or NLBUS_WRITE
 *
 * Doesn't sleep.
 *
 * Return: true if so.
 */
bool nlbus_sender_may(const struct nlbus_bus *bus, const struct sk_buff *skb,
		      struct nlbus_topic *topic, u16 what)
{
	struct nlbus_caller caller;

	nlbus_caller_init(&caller, bus, skb);
	return nlbus_caller_may(&caller, topic, what);
}

/**
 * nlbus_access_default() - what a topic has that the calling task creates
 * @access: filled in
 */
void nlbus_access_default(struct nlbus_access *access)
{
	access->mode = nlbus_params.topic_mode;
	current_fsuid_fsgid(&access->uid, &access->gid); /* as of a file */
}

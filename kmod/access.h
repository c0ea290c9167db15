/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Who may do what with a topic: it has an owner, a group and a mode, as a file
 * has, and CAP_NET_ADMIN over the network namespace overrides them.
 */
#ifndef _NLBUS_ACCESS_H
#define _NLBUS_ACCESS_H

#include <linux/compiler.h>
#include <linux/types.h>
#include <linux/uidgid.h>

struct cred;
struct file;
struct nlbus_bus;
struct nlbus_topic;
struct sk_buff;
struct user_namespace;

/* What there is to be allowed: its bits in all three classes. */
#define NLBUS_READ	0444	/* subscribe, replay */
#define NLBUS_WRITE	0222	/* publish */

/**
 * struct nlbus_access - who may read and write a topic
 * @mode: as chmod(2), bits of NLBUS_TOPIC_MODE_MASK
 * @uid: owner
 * @gid: owning group
 */
struct nlbus_access {
	u16 mode;
	kuid_t uid;
	kgid_t gid;
};

/**
 * struct nlbus_who - one of those who have to be allowed
 * @cred: his credentials; NULL for nobody's, who may what all may
 * @opened: the file that he opened; NULL for the calling task, who is current
 * @capable: whether he has CAP_NET_ADMIN: 0, 1, or -1 for not asked yet
 */
struct nlbus_who {
	const struct cred *cred;
	const struct file *opened;
	int capable;
};

/**
 * struct nlbus_caller - on whose behalf something is done, in his own task; or later,
 *                       with nlbus_caller_keep()
 * @who: the calling task; and who opened its socket
 * @count: how many of the two there are
 * @user_ns: where CAP_NET_ADMIN counts
 * @quiet: being refused is nothing that an audit should hear of
 *
 * All of them have to be allowed, though each for a reason of his own: a
 * privileged program that was made to write to a descriptor it inherited gains its
 * parent nothing, and neither does a socket that somebody privileged opened gain
 * who holds it (CVE-2014-0181). That holds for datagrams with an address as well,
 * for which netlink_ns_capable() asks the sender alone.
 */
struct nlbus_caller {
	struct nlbus_who who[2];
	unsigned int count;
	struct user_namespace *user_ns;
	bool quiet;
};

void nlbus_caller_current(struct nlbus_caller *caller,
			  const struct nlbus_bus *bus);
void nlbus_caller_init(struct nlbus_caller *caller, const struct nlbus_bus *bus,
		       const struct sk_buff *skb);
void nlbus_caller_keep(struct nlbus_caller *caller, const struct nlbus_bus *bus,
		       const struct sk_buff *skb);
void nlbus_caller_put(struct nlbus_caller *caller);
bool nlbus_caller_may(struct nlbus_caller *caller, struct nlbus_topic *topic,
		      u16 what);
bool nlbus_caller_may_look(struct nlbus_caller *caller,
			   struct nlbus_topic *topic);
bool nlbus_caller_may_change(struct nlbus_caller *caller,
			     const struct nlbus_access *access);
bool nlbus_caller_may_give(struct nlbus_caller *caller,
			   const struct nlbus_access *from,
			   const struct nlbus_access *to);
bool nlbus_sender_may(const struct nlbus_bus *bus, const struct sk_buff *skb,
		      struct nlbus_topic *topic, u16 what);
void nlbus_access_default(struct nlbus_access *access);

/* Whether everybody may: the one test that most topics cost. */
static inline bool nlbus_access_all(const struct nlbus_access *access, u16 what)
{
	return (READ_ONCE(access->mode) & what) == what;
}

static inline bool nlbus_access_same(const struct nlbus_access *a,
				     const struct nlbus_access *b)
{
	return a->mode == b->mode && uid_eq(a->uid, b->uid) &&
	       gid_eq(a->gid, b->gid);
}

/* Whether somebody who may read with @from mayn't with @to. */
static inline bool nlbus_access_narrows(const struct nlbus_access *from,
					const struct nlbus_access *to)
{
	if (nlbus_access_all(to, NLBUS_READ))
		return false;
	return (from->mode & ~to->mode & NLBUS_READ) ||
	       !uid_eq(from->uid, to->uid) || !gid_eq(from->gid, to->gid);
}

#endif /* _NLBUS_ACCESS_H */

// SPDX-License-Identifier: GPL-2.0
/*
 * What is published: the publishes of a datagram are accepted all or none.
 */
#include <linux/cred.h>
#include <linux/err.h>
#include <linux/minmax.h>
#include <linux/netlink.h>
#include <linux/sched.h>
#include <linux/skbuff.h>
#include <linux/string.h>
#include <net/net_namespace.h>
#include <net/netlink.h>

#include "accept.h"
#include "access.h"
#include "account.h"
#include "bus.h"
#include "check.h"
#include "direct.h"
#include "lost.h"
#include "name.h"
#include "params.h"
#include "refusal.h"
#include "reply.h"
#include "run.h"
#include "share.h"

/* Any datagram has room in an empty queue. Small publishes fill it the most, where each
 * has another topic than the one before it: each takes an allocation, of a power
 * of two at worst, and 128 bytes are just not enough.
 */
static_assert(NLBUS_QUEUE_MIN - NLBUS_QUEUE_RESERVE(NLBUS_QUEUE_MIN) >=
	      NLBUS_DATAGRAM_MAX /
	      (128 + NLMSG_ALIGNTO - offsetof(struct nlbus_run, data)) * 256);

/**
 * struct nlbus_stretch - publishes of one topic that follow each other
 * @first: the first one
 * @topic: their topic, with a reference, or NULL
 * @len: bytes of their messages, with padding behind the last one
 * @count: how many
 * @last: the last one
 */
struct nlbus_stretch {
	const struct nlmsghdr *first;
	struct nlbus_topic *topic;
	u32 len;
	u32 count;
	const struct nlmsghdr *last;
};

/* Bytes of messages that may share a run: history gives whole ones, so there is to
 * be more than a few of them in it.
 */
static u32 nlbus_accept_most(const struct nlbus_topic *topic)
{
	size_t limit = topic ? READ_ONCE(topic->history.limit) :
			       nlbus_params.topic_history;

	limit = min_t(size_t, limit, nlbus_params.history) / 8;
	return min3(limit, (size_t)nlbus_params.pack, (size_t)NLBUS_RUN_LEN);
}

/* Whether a message is an event of the same topic as another one. */
static bool nlbus_accept_same(const struct nlmsghdr *nlh,
			      const struct nlmsghdr *other)
{
	const struct nlbus_event_hdr *hdr, *known = nlbus_publish_hdr(other);

	if (nlh->nlmsg_type != NLBUS_MSG_PUBLISH)
		return false;
	hdr = nlbus_publish_hdr(nlh);
	/* What uses up numbers stands for itself, between the events. */
	return hdr->topic_len == known->topic_len &&
	       !((hdr->flags | known->flags) & NLBUS_EVENT_F_LOST) &&
	       nlbus_name_equal((const u8 *)(hdr + 1), (const u8 *)(known + 1),
				hdr->topic_len);
}

/* Finds the publishes that share a run with @stretch->first, whose topic is known.
 * Return: the message behind them, or NULL.
 */
static const struct nlmsghdr *nlbus_accept_find(const struct sk_buff *skb,
						struct nlbus_stretch *stretch)
{
	u32 most = nlbus_accept_most(stretch->topic);
	const struct nlmsghdr *nlh = stretch->first;

	stretch->len = 0;
	stretch->count = 0;
	do {
		stretch->len += NLMSG_ALIGN(nlh->nlmsg_len);
		stretch->count++;
		stretch->last = nlh;
		nlh = nlbus_message_next(skb, nlh);
	} while (nlh && stretch->len + NLMSG_ALIGN(nlh->nlmsg_len) <= most &&
		 nlbus_accept_same(nlh, stretch->first));
	return nlh;
}

/* Makes a run of publishes, with memory for @room bytes of messages at least, and
 * hands the reference to their topic over to it.
 */
static struct nlbus_run *nlbus_accept_run(const struct sk_buff *skb,
					  const struct nlbus_stretch *stretch,
					  const struct nlbus_sender *from,
					  u32 room)
{
	u32 left = skb_tail_pointer(skb) - (const u8 *)stretch->first;
	struct nlmsghdr *event = NULL;
	struct nlbus_run *run;

	run = nlbus_run_alloc(stretch->len, max(stretch->len, room),
			      GFP_KERNEL_ACCOUNT);
	if (!run)
		return NULL;
	run->count = nlbus_lost(stretch->first) ? 0 : stretch->count;
	/* The last one's padding needn't be there. */
	memcpy(run->data, stretch->first, min(stretch->len, left));
	while ((event = nlbus_event_in(run->data, run->len, event)))
		nlbus_event_begin(event, from);

	if (stretch->last->nlmsg_flags & NLM_F_ACK) {
		run->ack = nlbus_ack_new(stretch->last, true,
					 GFP_KERNEL_ACCOUNT);
		if (!run->ack) {
			nlbus_run_put(run);
			return NULL;
		}
	}
	run->topic = stretch->topic;
	return run;
}

/* Whether the sender may publish to a topic. */
static bool nlbus_accept_may(const struct nlbus_bus *bus,
			     const struct sk_buff *skb,
			     struct nlbus_topic *topic)
{
	return nlbus_access_all(&topic->access, NLBUS_WRITE) ||
	       nlbus_sender_may(bus, skb, topic, NLBUS_WRITE);
}

static int nlbus_refuse_mode(struct nlbus_refusal *refusal,
			     const struct nlmsghdr *nlh)
{
	const struct nlbus_event_hdr *hdr = nlbus_publish_hdr(nlh);

	return nlbus_refusal_set(refusal, -EACCES,
				 "topic '%.*s': its mode doesn't let you publish, or not who opened your socket",
				 hdr->topic_len, (const u8 *)(hdr + 1));
}

/* Whether a topic may get more, of whose creator all that can be is let go. */
static bool nlbus_accept_keeps(const struct nlbus_topic *topic)
{
	const struct nlbus_share *share = topic->history.share;

	return !share || !nlbus_account_keeps_more(share->account,
							  nlbus_account_spare());
}

static int nlbus_refuse_keeps(struct nlbus_refusal *refusal,
			      const struct nlbus_topic *topic,
			      const struct nlmsghdr *nlh)
{
	const struct nlbus_event_hdr *hdr = nlbus_publish_hdr(nlh);
	char who[NLBUS_ACCOUNT_NAME];

	nlbus_account_name(topic->history.share->account, who);
	return nlbus_refusal_set(refusal, -EDQUOT,
				 "topic '%.*s': the newest events alone of the topics that %s created take %zu bytes more than the %lu that one user may keep: delete some of them (module parameter user_history)",
				 hdr->topic_len, (const u8 *)(hdr + 1), who,
				 nlbus_account_spare(),
				 nlbus_params.user_history);
}

/* Whether the sender may publish to a topic, and it may get more. */
static int nlbus_accept_check(const struct nlbus_bus *bus,
			      const struct sk_buff *skb,
			      struct nlbus_topic *topic,
			      const struct nlmsghdr *nlh,
			      struct nlbus_refusal *refusal)
{
	if (!nlbus_accept_may(bus, skb, topic))
		return nlbus_refuse_mode(refusal, nlh);
	if (!nlbus_accept_keeps(topic))
		return nlbus_refuse_keeps(refusal, topic, nlh);
	if (nlbus_lost(nlh))
		return nlbus_lost_check_topic(topic, refusal);
	return 0;
}

/* Finds the topic of a run that is still without, or prepares to create it. */
static int nlbus_accept_topic(struct nlbus_bus *bus, const struct sk_buff *skb,
			      struct nlbus_run *run, const struct nlmsghdr *nlh,
			      const struct nlbus_access *access,
			      struct nlbus_share *share,
			      struct nlbus_refusal *refusal)
{
	const struct nlbus_event_hdr *hdr = nlbus_publish_hdr(nlh);
	struct nlbus_topic *topic;

	topic = nlbus_topic_prepare(bus, (const u8 *)(hdr + 1), hdr->topic_len,
				    access, share, refusal);
	if (IS_ERR(topic))
		return PTR_ERR(topic);
	run->topic = topic;
	return nlbus_accept_check(bus, skb, topic, nlh, refusal);
}

/* Prepares to create the topics that runs are still without. The runs are those of
 * the datagram's publishes, in order.
 */
static int nlbus_accept_prepare(struct nlbus_bus *bus, struct list_head *runs,
				struct nlbus_datagram *datagram,
				struct nlbus_share *share,
				struct nlbus_refusal *refusal)
{
	const struct nlmsghdr *nlh = NULL;
	struct nlbus_access access;
	struct nlbus_run *run;
	u32 events;
	int err;

	nlbus_access_default(&access);
	list_for_each_entry(run, runs, link) {
		do {
			nlh = nlbus_message_next(datagram->skb, nlh);
		} while (nlh->nlmsg_type != NLBUS_MSG_PUBLISH);
		if (!run->topic) {
			err = nlbus_accept_topic(bus, datagram->skb, run, nlh,
						 &access, share, refusal);
			if (err) {
				datagram->bad = nlh;
				return err;
			}
		}
		for (events = run->count; events > 1; events--)
			nlh = nlbus_message_next(datagram->skb, nlh);
	}
	return 0;
}

/* Creates the topics that runs are still without, all or none. */
static int nlbus_accept_topics(struct nlbus_bus *bus, struct list_head *runs,
			       struct nlbus_datagram *datagram,
			       struct nlbus_refusal *refusal)
{
	struct nlbus_topics *topics = &bus->topics;
	struct nlbus_share *share;
	int err;

	datagram->bad = nlbus_message_at(datagram->skb, 0);
	if (mutex_lock_killable(&topics->lock))
		return nlbus_refusal_set(refusal, -EINTR,
					 "the sender was killed");
	share = nlbus_share_get(bus);
	if (IS_ERR(share))
		err = nlbus_share_refuse(refusal, PTR_ERR(share));
	else
		err = nlbus_accept_prepare(bus, runs, datagram, share, refusal);
	if (err)
		nlbus_topics_abort(topics);
	else
		nlbus_topics_commit(bus);
	mutex_unlock(&topics->lock);
	nlbus_share_put(share);
	return err;
}

static int nlbus_refuse_queue(struct nlbus_refusal *refusal, int err,
			      const struct nlmsghdr *bad)
{
	const struct nlbus_event_hdr *hdr = nlbus_publish_hdr(bad);
	const char *why = err == -EAGAIN ? "is full" :
			  err == -EINTR ? "is full, and the sender was killed" :
			  "is closed";

	return nlbus_refusal_set(refusal, err,
				 "topic '%.*s': the publish queue of %lu bytes, or your part of it, %lu, %s",
				 hdr->topic_len, (const u8 *)(hdr + 1),
				 nlbus_params.queue, nlbus_params.user_queue,
				 why);
}

/* What is made of the publishes of a datagram. */
struct nlbus_accepted {
	struct list_head runs;
	size_t bytes;
	u32 len;
	bool missing; /* some topic */
};

/* Finds the topic of @stretch->first, if it is there. */
static int nlbus_accept_find_topic(struct nlbus_bus *bus,
				   const struct sk_buff *skb,
				   struct nlbus_stretch *stretch,
				   struct nlbus_accepted *accepted,
				   struct nlbus_refusal *refusal)
{
	const struct nlbus_event_hdr *hdr = nlbus_publish_hdr(stretch->first);
	const u8 *name = (const u8 *)(hdr + 1);
	bool full;
	int err;

	/* Before the look-up: what is missing then was missing when the bus was
	 * full.
	 */
	full = nlbus_topics_count(&bus->topics) >= nlbus_params.topics;
	stretch->topic = nlbus_topic_of_publish(&bus->topics, name,
						hdr->topic_len);
	if (!stretch->topic) {
		if (full && !accepted->missing)
			return nlbus_topic_refuse_full(refusal, name,
						       hdr->topic_len);
		accepted->missing = true;
		return 0;
	}
	err = nlbus_accept_check(bus, skb, stretch->topic, stretch->first,
				 refusal);
	if (err)
		nlbus_topic_put(stretch->topic);
	return err;
}

/* Bytes of messages that a run is to have memory for, if it gets less. Behind a gap there
 * may soon be another one, which ends the run.
 */
static u32 nlbus_accept_room(struct nlbus_bus *bus,
			     const struct nlbus_datagram *datagram,
			     const struct nlbus_stretch *stretch)
{
	if (!stretch->topic || datagram->publishes > 1 ||
	    nlbus_lost(stretch->first) ||
	    READ_ONCE(stretch->topic->history.skipped) ||
	    !nlbus_queue_idle(&bus->queue))
		return 0;
	/* For those to come: as much again as is kept. */
	return min_t(size_t, nlbus_accept_most(stretch->topic),
		     READ_ONCE(stretch->topic->history.bytes));
}

/* Makes runs of all publishes of a datagram. */
static int nlbus_accept_runs(struct nlbus_bus *bus,
			     struct nlbus_datagram *datagram,
			     const struct nlbus_sender *from,
			     struct nlbus_accepted *accepted,
			     struct nlbus_refusal *refusal)
{
	const struct sk_buff *skb = datagram->skb;
	const struct nlmsghdr *nlh = nlbus_message_next(skb, NULL);
	struct nlbus_stretch stretch;
	struct nlbus_run *run;
	int err;

	while (nlh) {
		if (nlh->nlmsg_type != NLBUS_MSG_PUBLISH) {
			nlh = nlbus_message_next(skb, nlh);
			continue;
		}
		stretch.first = nlh;
		err = nlbus_accept_find_topic(bus, skb, &stretch, accepted,
					      refusal);
		if (err) {
			datagram->bad = stretch.first;
			return err;
		}
		nlh = nlbus_accept_find(skb, &stretch);
		run = nlbus_accept_run(skb, &stretch, from,
				       nlbus_accept_room(bus, datagram,
							 &stretch));
		if (!run) {
			nlbus_topic_put(stretch.topic);
			datagram->bad = stretch.first;
			return nlbus_refusal_set(refusal, -ENOMEM,
						 "no memory for the event");
		}
		list_add_tail(&run->link, &accepted->runs);
		accepted->bytes += run->size;
		accepted->len += run->len;
	}
	return 0;
}

/* Queues what was made of a datagram, or none of it. What can fail comes first:
 * from the queue on there is no way back and no allocation.
 */
static int nlbus_accept_queue(struct nlbus_bus *bus,
			      struct nlbus_datagram *datagram,
			      struct nlbus_accepted *accepted,
			      struct nlbus_account *account,
			      struct nlbus_refusal *refusal)
{
	int err;

	err = nlbus_queue_reserve(&bus->queue, account, accepted->bytes,
				  !datagram->no_wait);
	if (err)
		return nlbus_refuse_queue(refusal, err, datagram->bad);
	if (accepted->missing) {
		err = nlbus_accept_topics(bus, &accepted->runs, datagram,
					  refusal);
		if (err) {
			nlbus_queue_release(&bus->queue, account,
					    accepted->bytes);
			return err;
		}
	}
	nlbus_queue_add(&bus->queue, account, &accepted->runs);
	return 0;
}

/* Dispatches or queues what was made of a datagram, or none of it. */
static int nlbus_accept_all(struct nlbus_bus *bus,
			    struct nlbus_datagram *datagram,
			    struct nlbus_accepted *accepted,
			    struct nlbus_refusal *refusal)
{
	struct nlbus_account *account;
	int err;

	if (!accepted->missing && accepted->len <= nlbus_params.pack &&
	    nlbus_direct(bus, &accepted->runs))
		return 0;

	account = nlbus_account_get();
	if (IS_ERR(account))
		return nlbus_share_refuse(refusal, PTR_ERR(account));
	err = nlbus_accept_queue(bus, datagram, accepted, account, refusal);
	nlbus_account_put(account);
	return err;
}

/**
 * nlbus_accept() - take all publishes of a datagram, or none
 * @bus: the bus, started
 * @datagram: the datagram, checked, in the task that sent it; its @bad is set to
 *            the one that is refused
 * @refusal: says why, if they are refused
 *
 * May sleep. Afterwards the datagram is only to be dropped: nlbus_direct_lone().
 *
 * Return: 0, or a negative errno of docs/PROTOCOL.md.
 */
int nlbus_accept(struct nlbus_bus *bus, struct nlbus_datagram *datagram,
		 struct nlbus_refusal *refusal)
{
	struct nlbus_sender from = {
		.portid = NETLINK_CB(datagram->skb).portid,
		.pid = task_tgid_nr(current),
		.uid = from_kuid_munged(bus->net->user_ns, current_uid()),
	};
	struct nlbus_accepted accepted = {
		.runs = LIST_HEAD_INIT(accepted.runs),
	};
	int err;

	if (datagram->publishes == 1 && !datagram->requests &&
	    nlbus_direct_lone(bus, datagram->skb, &from))
		return 0;

	err = nlbus_accept_runs(bus, datagram, &from, &accepted, refusal);
	if (!err)
		err = nlbus_accept_all(bus, datagram, &accepted, refusal);
	if (err)
		nlbus_run_put_list(&accepted.runs);
	return err;
}

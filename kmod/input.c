// SPDX-License-Identifier: GPL-2.0
/*
 * What clients send: a datagram is checked from front to back, then its
 * publishes are accepted all or none, then its requests are answered.
 *
 * All of this runs in the sender's task, inside sendmsg(), without locks. That
 * is where the sender's identity is taken from: not from NETLINK_CREDS(), into
 * which SCM_CREDENTIALS lets a namespace's root write what he likes. The
 * datagram is netlink's again when nlbus_input() returns.
 */
#include <linux/cred.h>
#include <linux/err.h>
#include <linux/minmax.h>
#include <linux/netlink.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/skbuff.h>
#include <linux/string.h>
#include <net/net_namespace.h>
#include <net/netlink.h>
#include <net/sock.h>

#include "access.h"
#include "answer.h"
#include "bus.h"
#include "check.h"
#include "client.h"
#include "direct.h"
#include "input.h"
#include "name.h"
#include "params.h"
#include "refusal.h"
#include "reply.h"
#include "request.h"
#include "run.h"

/* The smallest publishes fill a queue the most: where each has another topic than
 * the one before it, so many headers of runs count, and up to half of an allocation
 * may be nobody's.
 */
static_assert(NLBUS_QUEUE_MIN - NLBUS_QUEUE_RESERVE(NLBUS_QUEUE_MIN) >=
	      NLBUS_DATAGRAM_MAX / 64 * 2 *
	      (offsetof(struct nlbus_run, data) + 64));

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

/* Whether a message is a publish to the same topic as another one. */
static bool nlbus_accept_same(const struct nlmsghdr *nlh,
			      const struct nlmsghdr *other)
{
	const struct nlbus_event_hdr *hdr, *known = nlbus_publish_hdr(other);

	if (nlh->nlmsg_type != NLBUS_MSG_PUBLISH)
		return false;
	hdr = nlbus_publish_hdr(nlh);
	return hdr->topic_len == known->topic_len &&
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
	run->count = stretch->count;
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

/* Finds the topic of a run that is still without, or prepares to create it. */
static int nlbus_accept_topic(struct nlbus_bus *bus, const struct sk_buff *skb,
			      struct nlbus_run *run, const struct nlmsghdr *nlh,
			      const struct nlbus_access *access,
			      struct nlbus_refusal *refusal)
{
	const struct nlbus_event_hdr *hdr = nlbus_publish_hdr(nlh);
	struct nlbus_topic *topic;

	topic = nlbus_topic_prepare(bus, (const u8 *)(hdr + 1), hdr->topic_len,
				    access, refusal);
	if (IS_ERR(topic))
		return PTR_ERR(topic);
	run->topic = topic;
	if (!nlbus_accept_may(bus, skb, topic))
		return nlbus_refuse_mode(refusal, nlh);
	return 0;
}

/* Creates the topics that runs are still without, all or none. The runs are those
 * of the datagram's publishes, in order.
 */
static int nlbus_accept_topics(struct nlbus_bus *bus, struct list_head *runs,
			       struct nlbus_datagram *datagram,
			       struct nlbus_refusal *refusal)
{
	struct nlbus_topics *topics = &bus->topics;
	const struct nlmsghdr *nlh = NULL;
	struct nlbus_access access;
	struct nlbus_run *run;
	int err = 0;
	u32 events;

	nlbus_access_default(&access);
	if (mutex_lock_killable(&topics->lock)) {
		datagram->bad = nlbus_message_at(datagram->skb, 0);
		return nlbus_refusal_set(refusal, -EINTR,
					 "the sender was killed");
	}
	list_for_each_entry(run, runs, link) {
		do {
			nlh = nlbus_message_next(datagram->skb, nlh);
		} while (nlh->nlmsg_type != NLBUS_MSG_PUBLISH);
		if (!run->topic) {
			err = nlbus_accept_topic(bus, datagram->skb, run, nlh,
						 &access, refusal);
			if (err) {
				datagram->bad = nlh;
				break;
			}
		}
		for (events = run->count; events > 1; events--)
			nlh = nlbus_message_next(datagram->skb, nlh);
	}
	if (err)
		nlbus_topics_abort(topics);
	else
		nlbus_topics_commit(bus);
	mutex_unlock(&topics->lock);
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
				 "topic '%.*s': the publish queue of %lu bytes %s",
				 hdr->topic_len, (const u8 *)(hdr + 1),
				 nlbus_params.queue, why);
}

/* What is made of the publishes of a datagram. */
struct nlbus_accepted {
	struct list_head runs;
	size_t bytes;
	u32 len;
	bool missing; /* some topic */
};

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
	u32 room = 0;

	while (nlh) {
		const struct nlbus_event_hdr *hdr = nlbus_publish_hdr(nlh);
		bool full;

		if (nlh->nlmsg_type != NLBUS_MSG_PUBLISH) {
			nlh = nlbus_message_next(skb, nlh);
			continue;
		}
		/* Before the look-up: what is missing then was missing when the
		 * bus was full.
		 */
		full = nlbus_topics_count(&bus->topics) >= nlbus_params.topics;
		stretch.first = nlh;
		stretch.topic = nlbus_topic_of_publish(&bus->topics,
						       (const u8 *)(hdr + 1),
						       hdr->topic_len);
		if (!stretch.topic) {
			if (full && !accepted->missing) {
				datagram->bad = nlh;
				return nlbus_topic_refuse_full(refusal,
							       (const u8 *)(hdr + 1),
							       hdr->topic_len);
			}
			accepted->missing = true;
		} else if (!nlbus_accept_may(bus, skb, stretch.topic)) {
			nlbus_topic_put(stretch.topic);
			datagram->bad = nlh;
			return nlbus_refuse_mode(refusal, nlh);
		} else if (datagram->publishes == 1 &&
			   nlbus_queue_idle(&bus->queue)) {
			/* For those to come: as much again as is kept. */
			room = min_t(size_t, nlbus_accept_most(stretch.topic),
				     READ_ONCE(stretch.topic->history.bytes));
		}
		nlh = nlbus_accept_find(skb, &stretch);
		run = nlbus_accept_run(skb, &stretch, from, room);
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

/* Dispatches or queues what was made of a datagram, or none of it. What can fail
 * comes first: from the queue on there is no way back and no allocation.
 */
static int nlbus_accept_all(struct nlbus_bus *bus,
			    struct nlbus_datagram *datagram,
			    struct nlbus_accepted *accepted,
			    struct nlbus_refusal *refusal)
{
	int err;

	if (!accepted->missing && accepted->len <= nlbus_params.pack &&
	    nlbus_direct(bus, &accepted->runs))
		return 0;

	err = nlbus_queue_reserve(&bus->queue, accepted->bytes,
				  !datagram->no_wait);
	if (err)
		return nlbus_refuse_queue(refusal, err, datagram->bad);
	if (accepted->missing) {
		err = nlbus_accept_topics(bus, &accepted->runs, datagram,
					  refusal);
		if (err) {
			nlbus_queue_release(&bus->queue, accepted->bytes);
			return err;
		}
	}
	nlbus_queue_add(&bus->queue, &accepted->runs);
	return 0;
}

/* Takes all publishes of a datagram that was checked, or none. */
static int nlbus_accept(struct nlbus_bus *bus, struct nlbus_datagram *datagram,
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

/* Answers the requests of a datagram that was checked, each for itself. There
 * may be thousands, and each may look at all topics: so not on behalf of one who
 * is dead already.
 */
static noinline void nlbus_answer_all(struct nlbus_bus *bus,
				      struct sk_buff *skb,
				      struct nlbus_refusal *refusal)
{
	u32 portid = NETLINK_CB(skb).portid;
	struct nlbus_request request;
	const struct nlmsghdr *nlh = NULL;
	struct sk_buff *ack;

	while ((nlh = nlbus_message_next(skb, nlh))) {
		if (nlh->nlmsg_type == NLBUS_MSG_PUBLISH)
			continue;
		cond_resched();
		if (fatal_signal_pending(current))
			return;
		if (nlbus_request_check(nlh, &request, refusal) ||
		    nlbus_answer(bus, skb, nlh, &request, refusal)) {
			atomic64_inc(&bus->counters.refused);
			nlbus_refuse(bus->sk, portid, nlh, refusal);
			continue;
		}
		if (nlh->nlmsg_flags & NLM_F_ACK) {
			ack = nlbus_ack_new(nlh, false, GFP_KERNEL_ACCOUNT);
			if (ack)
				nlbus_reply_send(bus->sk, ack, portid);
		}
	}
}

/* Makes sure that there is a bus for the sender, and that it knows him. */
static int nlbus_admit(struct nlbus_bus *bus, const struct sk_buff *skb,
		       struct nlbus_refusal *refusal)
{
	int err;

	/* Known first: whoever isn't by the time the bus closes finds it retired. */
	err = nlbus_client_note(&bus->clients, skb);
	if (err)
		return nlbus_refusal_set(refusal, err,
					 "no memory for another client");
	smp_mb(); /* pairs with the lock in nlbus_clients_shut() */
	if (nlbus_bus_retired())
		return nlbus_refusal_set(refusal, -ESHUTDOWN,
					 "the module is retired");
	err = nlbus_bus_start(bus);
	if (err)
		return nlbus_refusal_set(refusal, err,
					 "the bus can't be started");
	return 0;
}

/**
 * nlbus_input() - take a datagram from a client
 * @skb: the datagram, linear; netlink's again afterwards, if only to be dropped:
 *       see nlbus_direct_lone()
 */
void nlbus_input(struct sk_buff *skb)
{
	struct nlbus_bus *bus = nlbus_bus_get(sock_net(skb->sk));
	struct nlbus_datagram datagram = { .skb = skb };
	struct nlbus_refusal refusal = {};
	const struct nlmsghdr *bad;
	int err;

	if (!bus) {
		nlbus_refusal_set(&refusal, -ENODEV,
				  "the module is being loaded or removed");
		bad = skb->len >= NLMSG_HDRLEN ? nlbus_message_at(skb, 0) : NULL;
		nlbus_refuse(skb->sk, NETLINK_CB(skb).portid, bad, &refusal);
		return;
	}

	err = nlbus_datagram_check(&datagram, &bus->topics, &refusal);
	bad = datagram.bad;
	if (!err) {
		err = nlbus_admit(bus, skb, &refusal);
		bad = nlbus_message_at(skb, 0);
	}
	if (!err && datagram.publishes) {
		err = nlbus_accept(bus, &datagram, &refusal);
		bad = datagram.bad;
	}
	if (err) {
		atomic64_inc(&bus->counters.refused);
		nlbus_refuse(bus->sk, NETLINK_CB(skb).portid, bad, &refusal);
		/* Last: the error is read before the answer. */
		if (err == -ESHUTDOWN)
			nlbus_client_shut(skb);
		return;
	}
	if (datagram.requests)
		nlbus_answer_all(bus, skb, &refusal);
}

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
#include <linux/netlink.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/skbuff.h>
#include <linux/string.h>
#include <net/net_namespace.h>
#include <net/netlink.h>
#include <net/sock.h>

#include "answer.h"
#include "bus.h"
#include "check.h"
#include "client.h"
#include "direct.h"
#include "input.h"
#include "params.h"
#include "record.h"
#include "refusal.h"
#include "reply.h"
#include "request.h"

/* The smallest publishes fill a queue the most: headers of records count, and up
 * to half of an allocation may be nobody's.
 */
static_assert(NLBUS_QUEUE_MIN - NLBUS_QUEUE_RESERVE(NLBUS_QUEUE_MIN) >=
	      NLBUS_DATAGRAM_MAX / 64 * 2 *
	      (offsetof(struct nlbus_record, msg) + 64));

/* The topic of an event; mostly it is that of the one before it in the datagram. */
static struct nlbus_topic *
nlbus_accept_topic(struct nlbus_bus *bus, const struct nlbus_record *before,
		   const struct nlbus_publish *publish)
{
	u16 len = publish->hdr->topic_len;

	if (before && before->hdr.topic_len == len &&
	    !memcmp(before->data, publish->name, len))
		return before->topic;
	return nlbus_topic_by_name(&bus->topics, publish->name, len);
}

static struct nlbus_record *nlbus_accept_one(struct nlbus_bus *bus,
					     const struct sk_buff *skb,
					     const struct nlmsghdr *nlh,
					     const struct nlbus_record *before)
{
	struct nlbus_publish publish;
	struct nlbus_record *record;

	nlbus_publish_split(nlh, &publish);
	record = nlbus_record_alloc(publish.name, publish.hdr->topic_len,
				    publish.payload, publish.payload_len,
				    GFP_KERNEL_ACCOUNT);
	if (!record)
		return NULL;
	record->hdr.content = publish.hdr->content;
	record->hdr.portid = NETLINK_CB(skb).portid;
	record->hdr.pid = task_tgid_nr(current);
	record->hdr.uid = from_kuid_munged(bus->net->user_ns, current_uid());
	record->topic = nlbus_accept_topic(bus, before, &publish);
	if (nlh->nlmsg_flags & NLM_F_ACK) {
		record->ack = nlbus_ack_new(nlh, true, GFP_KERNEL_ACCOUNT);
		if (!record->ack) {
			nlbus_record_put(record);
			return NULL;
		}
	}
	return record;
}

static int nlbus_refuse_topic(struct nlbus_refusal *refusal, int err,
			      const struct nlbus_record *record)
{
	if (err == -ENOSPC)
		return nlbus_refusal_set(refusal, err,
					 "topic '%.*s': the bus has its limit of %u topics",
					 record->hdr.topic_len, record->data,
					 nlbus_params.topics);
	return nlbus_refusal_set(refusal, err,
				 "topic '%.*s': no memory to create it",
				 record->hdr.topic_len, record->data);
}

/* Creates the topics that records are still without, all or none. The records
 * are those of the datagram's publishes, in order.
 */
static int nlbus_accept_topics(struct nlbus_bus *bus, struct list_head *records,
			       const struct sk_buff *skb,
			       const struct nlmsghdr **bad,
			       struct nlbus_refusal *refusal)
{
	struct nlbus_record *record = list_entry(records, struct nlbus_record,
						 link);
	struct nlbus_topics *topics = &bus->topics;
	const struct nlmsghdr *nlh = NULL;
	struct nlbus_topic *topic;
	int err = 0;

	if (mutex_lock_killable(&topics->lock)) {
		*bad = nlbus_message_at(skb, 0);
		return nlbus_refusal_set(refusal, -EINTR,
					 "the sender was killed");
	}
	while ((nlh = nlbus_message_next(skb, nlh))) {
		if (nlh->nlmsg_type != NLBUS_MSG_PUBLISH)
			continue;
		record = list_next_entry(record, link);
		if (record->topic)
			continue;
		topic = nlbus_topic_prepare(topics, record->data,
					    record->hdr.topic_len);
		if (IS_ERR(topic)) {
			*bad = nlh;
			err = nlbus_refuse_topic(refusal, PTR_ERR(topic),
						 record);
			break;
		}
		record->topic = topic;
	}
	if (err)
		nlbus_topics_abort(topics);
	else
		nlbus_topics_commit(bus);
	mutex_unlock(&topics->lock);
	return err;
}

static int nlbus_refuse_queue(struct nlbus_refusal *refusal, int err,
			      const struct nlbus_record *record)
{
	const char *why = err == -EAGAIN ? "is full" :
			  err == -EINTR ? "is full, and the sender was killed" :
			  "is closed";

	return nlbus_refusal_set(refusal, err,
				 "topic '%.*s': the publish queue of %lu bytes %s",
				 record->hdr.topic_len, record->data,
				 nlbus_params.queue, why);
}

/* Queues all publishes of a datagram that was checked, or none. What can fail
 * comes first: from the queue on there is no way back and no allocation.
 */
static int nlbus_accept(struct nlbus_bus *bus, const struct sk_buff *skb,
			const struct nlmsghdr **bad,
			struct nlbus_refusal *refusal)
{
	const struct nlbus_record *before = NULL;
	struct nlbus_record *missing = NULL;
	const struct nlmsghdr *nlh = NULL;
	struct nlbus_record *record;
	LIST_HEAD(records);
	bool wait = true;
	size_t bytes = 0;
	int err;

	while ((nlh = nlbus_message_next(skb, nlh))) {
		const struct nlbus_event_hdr *hdr = nlmsg_data(nlh);
		bool full;

		if (nlh->nlmsg_type != NLBUS_MSG_PUBLISH)
			continue;
		/* Before the look-up: what a full bus hasn't, it never will. */
		full = nlbus_topics_last_id(&bus->topics) >= nlbus_params.topics;
		record = nlbus_accept_one(bus, skb, nlh, before);
		if (!record) {
			*bad = nlh;
			err = nlbus_refusal_set(refusal, -ENOMEM,
						"no memory for the event");
			goto put_records;
		}
		list_add_tail(&record->link, &records);
		bytes += record->size;
		before = record;

		/* Whose header a refusal echoes that is the whole datagram's. */
		if (list_is_singular(&records))
			*bad = nlh;
		if (wait && (hdr->flags & NLBUS_EVENT_F_NO_WAIT)) {
			wait = false;
			*bad = nlh;
		}
		if (!record->topic && !missing) {
			missing = record;
			if (full) {
				*bad = nlh;
				err = nlbus_refuse_topic(refusal, -ENOSPC,
							 record);
				goto put_records;
			}
		}
	}
	if (list_empty(&records))
		return 0;

	if (!missing && list_is_singular(&records)) {
		record = list_first_entry(&records, struct nlbus_record, link);
		list_del_init(&record->link);
		if (nlbus_direct(bus, record))
			return 0;
		list_add(&record->link, &records);
	}

	err = nlbus_queue_reserve(&bus->queue, bytes, wait);
	if (err) {
		record = list_first_entry(&records, struct nlbus_record, link);
		err = nlbus_refuse_queue(refusal, err, record);
		goto put_records;
	}
	if (missing) {
		err = nlbus_accept_topics(bus, &records, skb, bad, refusal);
		if (err)
			goto release;
	}
	nlbus_queue_add(&bus->queue, &records);
	return 0;

release:
	nlbus_queue_release(&bus->queue, bytes);
put_records:
	nlbus_record_put_list(&records);
	return err;
}

/* Answers the requests of a datagram that was checked, each for itself. There
 * may be thousands, and each may look at all topics: so not on behalf of one who
 * is dead already.
 */
static void nlbus_answer_all(struct nlbus_bus *bus, struct sk_buff *skb,
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
 * @skb: the datagram, linear; netlink's again afterwards
 */
void nlbus_input(struct sk_buff *skb)
{
	struct nlbus_bus *bus = nlbus_bus_get(sock_net(skb->sk));
	const struct nlmsghdr *bad = NULL;
	struct nlbus_refusal refusal;
	int err;

	if (!bus) {
		nlbus_refusal_set(&refusal, -ENODEV,
				  "the module is being loaded or removed");
		if (skb->len >= NLMSG_HDRLEN)
			bad = nlbus_message_at(skb, 0);
		nlbus_refuse(skb->sk, NETLINK_CB(skb).portid, bad, &refusal);
		return;
	}

	err = nlbus_datagram_check(skb, &bad, &refusal);
	if (!err) {
		bad = nlbus_message_at(skb, 0);
		err = nlbus_admit(bus, skb, &refusal);
	}
	if (!err)
		err = nlbus_accept(bus, skb, &bad, &refusal);
	if (err) {
		atomic64_inc(&bus->counters.refused);
		nlbus_refuse(bus->sk, NETLINK_CB(skb).portid, bad, &refusal);
		/* Last: the error is read before the answer. */
		if (err == -ESHUTDOWN)
			nlbus_client_shut(skb);
		return;
	}
	nlbus_answer_all(bus, skb, &refusal);
}

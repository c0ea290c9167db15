// SPDX-License-Identifier: GPL-2.0
/*
 * Answers are sent from the requester's own task and never wait for him: one
 * datagram a request, so a client that pulls pages sets its own pace.
 */
#include <linux/err.h>
#include <linux/errno.h>
#include <linux/netlink.h>
#include <linux/skbuff.h>
#include <linux/slab.h>
#include <net/net_namespace.h>
#include <net/netlink.h>
#include <net/sock.h>

#include "access.h"
#include "answer.h"
#include "bus.h"
#include "change.h"
#include "info.h"
#include "params.h"
#include "page.h"
#include "refusal.h"
#include "reply.h"
#include "request.h"
#include "run.h"
#include "trace.h"
#include "will.h"

/* Bytes of a page of topics. */
#define NLBUS_LIST_LEN		SKB_WITH_OVERHEAD(32768)

/* The longest TOPIC message: one topic, or a list's end. */
#define NLBUS_TOPIC_LEN	(NLMSG_HDRLEN + \
			 6 * nla_total_size(sizeof(u32)) + \
			 8 * nla_total_size_64bit(sizeof(u64)) + \
			 nla_total_size(NLBUS_TOPIC_MAX) + \
			 nla_total_size(NLBUS_TYPE_MAX))

/* The message that closes a replay. */
#define NLBUS_REPLAY_END_LEN	(NLMSG_HDRLEN + nla_total_size(sizeof(u32)) + \
				 3 * nla_total_size_64bit(sizeof(u64)))

/* More events than this never fit a datagram. */
#define NLBUS_REPLAY_MAX	(NLBUS_DATAGRAM_MAX / \
				 (NLMSG_HDRLEN + \
				  sizeof(struct nlbus_event_hdr) + \
				  NLBUS_TOPIC_ALIGNTO))

static int nlbus_no_memory(struct nlbus_refusal *refusal)
{
	return nlbus_refusal_set(refusal, -ENOMEM, "no memory for the answer");
}

static int nlbus_refuse_read(const struct nlbus_request *request,
			     struct nlbus_refusal *refusal)
{
	return nlbus_request_refuse(request, refusal, -EACCES,
				    "its mode doesn't let you read it, or not who opened your socket");
}

/* A message of an answer: it has the numbers of the request. */
static struct nlmsghdr *nlbus_answer_begin(struct sk_buff *skb,
					   const struct nlmsghdr *to, u16 flags)
{
	return nlmsg_put(skb, to->nlmsg_pid, to->nlmsg_seq, to->nlmsg_type, 0,
			 flags);
}

static int nlbus_answer_info(struct nlbus_bus *bus, u32 portid,
			     const struct nlmsghdr *to,
			     struct nlbus_refusal *refusal)
{
	struct nlmsghdr *nlh;
	struct sk_buff *skb;

	skb = nlmsg_new(NLBUS_INFO_LEN, GFP_KERNEL_ACCOUNT);
	if (!skb)
		return nlbus_no_memory(refusal);

	nlh = nlbus_answer_begin(skb, to, 0);
	if (!nlh || WARN_ON_ONCE(nlbus_info_put(skb, bus))) {
		kfree_skb(skb);
		return nlbus_no_memory(refusal);
	}
	nlmsg_end(skb, nlh);
	nlbus_reply_send(bus->sk, skb, portid);
	return 0;
}

/* Appends a TOPIC message; with @since only if the topic changed after that.
 * Return: 1 if appended, 0 if not, or -EMSGSIZE.
 */
static int nlbus_answer_put_topic(struct sk_buff *skb, struct nlbus_bus *bus,
				  const struct nlmsghdr *to, u16 flags,
				  struct nlbus_topic *topic, const u64 *since)
{
	struct user_namespace *user_ns = bus->net->user_ns;
	struct nlbus_history *history = &topic->history;
	u64 first, head, bytes, limit, change;
	struct nlbus_access access;
	u8 type[NLBUS_TYPE_MAX];
	struct nlmsghdr *nlh;
	u32 group, type_len;

	spin_lock(&history->lock);
	first = history->first;
	head = nlbus_history_last(history);
	bytes = history->bytes;
	limit = history->limit;
	change = history->change;
	access = topic->access;
	group = topic->group;
	type_len = topic->type_len;
	memcpy(type, topic->type, type_len);
	spin_unlock(&history->lock);
	if (since && change <= *since)
		return 0;

	if (skb_tailroom(skb) < NLBUS_TOPIC_LEN)
		return -EMSGSIZE;
	nlh = nlbus_answer_begin(skb, to, flags);
	if (!nlh ||
	    nla_put_u32(skb, NLBUS_TOPIC_A_ID, topic->id) ||
	    nla_put(skb, NLBUS_TOPIC_A_NAME, topic->name_len, topic->name) ||
	    nla_put_u32(skb, NLBUS_TOPIC_A_GROUP, group) ||
	    nla_put_u64_64bit(skb, NLBUS_TOPIC_A_HEAD, head,
			      NLBUS_TOPIC_A_PAD) ||
	    nla_put_u64_64bit(skb, NLBUS_TOPIC_A_FIRST, first,
			      NLBUS_TOPIC_A_PAD) ||
	    nla_put_u64_64bit(skb, NLBUS_TOPIC_A_BYTES, bytes,
			      NLBUS_TOPIC_A_PAD) ||
	    nla_put_u64_64bit(skb, NLBUS_TOPIC_A_CHANGE, change,
			      NLBUS_TOPIC_A_PAD) ||
	    nla_put_u32(skb, NLBUS_TOPIC_A_MODE, access.mode) ||
	    nla_put_u32(skb, NLBUS_TOPIC_A_UID,
			from_kuid_munged(user_ns, access.uid)) ||
	    nla_put_u32(skb, NLBUS_TOPIC_A_GID,
			from_kgid_munged(user_ns, access.gid)) ||
	    nla_put_u64_64bit(skb, NLBUS_TOPIC_A_HISTORY, limit,
			      NLBUS_TOPIC_A_PAD) ||
	    nla_put_u64_64bit(skb, NLBUS_TOPIC_A_BROADCAST,
			      atomic64_read(&topic->broadcast), NLBUS_TOPIC_A_PAD) ||
	    nla_put_u64_64bit(skb, NLBUS_TOPIC_A_DROPPED,
			      atomic64_read(&topic->dropped), NLBUS_TOPIC_A_PAD) ||
	    nla_put_u64_64bit(skb, NLBUS_TOPIC_A_REPLAYED,
			      atomic64_read(&topic->replayed),
			      NLBUS_TOPIC_A_PAD) ||
	    (type_len &&
	     nla_put(skb, NLBUS_TOPIC_A_TYPE, type_len, type)))
		return -EMSGSIZE;
	nlmsg_end(skb, nlh);
	return 1;
}

/* Appends the answer to a deletion: all that is left. */
static int nlbus_answer_put_id(struct sk_buff *skb, const struct nlmsghdr *to,
			       u32 id)
{
	struct nlmsghdr *nlh = nlbus_answer_begin(skb, to, 0);

	if (!nlh || nla_put_u32(skb, NLBUS_TOPIC_A_ID, id))
		return -EMSGSIZE;
	nlmsg_end(skb, nlh);
	return 1;
}

/* Finds, creates, changes or deletes the topic that a request is about. Return: the
 * topic with a reference, or a negative errno.
 */
static struct nlbus_topic *nlbus_answer_do(struct nlbus_bus *bus,
					   struct nlbus_caller *caller,
					   const struct nlbus_request *request,
					   struct nlbus_refusal *refusal)
{
	struct nlbus_topic *topic;

	if (request->op == NLBUS_TOPIC_OP_DELETE)
		return nlbus_topic_remove(bus, caller, request, refusal);
	if (request->replace)
		return nlbus_topic_change(bus, caller, request, refusal);
	topic = request->create ?
		nlbus_topic_create(bus, caller, request, refusal) :
		nlbus_topic_look_up(bus, request, refusal);
	if (IS_ERR(topic) || nlbus_caller_may_look(caller, topic))
		return topic;
	nlbus_topic_put(topic);
	return ERR_PTR(nlbus_refuse_read(request, refusal));
}

static int nlbus_answer_topic(struct nlbus_bus *bus, struct sk_buff *from,
			      const struct nlmsghdr *to,
			      const struct nlbus_request *request,
			      struct nlbus_refusal *refusal)
{
	struct nlbus_caller caller;
	struct nlbus_topic *topic;
	struct sk_buff *skb;
	int put;

	/* First, so that nothing is done which the answer then says was not. */
	skb = alloc_skb(NLBUS_TOPIC_LEN, GFP_KERNEL_ACCOUNT);
	if (!skb)
		return nlbus_no_memory(refusal);

	nlbus_caller_init(&caller, bus, from);
	topic = nlbus_answer_do(bus, &caller, request, refusal);
	if (IS_ERR(topic)) {
		kfree_skb(skb);
		return PTR_ERR(topic);
	}
	put = request->op == NLBUS_TOPIC_OP_DELETE ?
		nlbus_answer_put_id(skb, to, topic->id) :
		nlbus_answer_put_topic(skb, bus, to, 0, topic, NULL);
	nlbus_topic_put(topic);
	if (WARN_ON_ONCE(put != 1)) {
		kfree_skb(skb);
		return nlbus_no_memory(refusal);
	}
	nlbus_reply_send(bus->sk, skb, NETLINK_CB(from).portid);
	return 0;
}

/* Appends those of the topics above @id that may be read, as many as fit. Return: the
 * id of the last one that was looked at.
 */
static u32 nlbus_answer_put_list(struct sk_buff *skb, struct nlbus_bus *bus,
				 struct nlbus_caller *caller,
				 const struct nlmsghdr *to, u32 id, u32 last_id,
				 const u64 *since)
{
	struct nlbus_topic *topic;

	/* Room for the end stays. */
	while (skb_tailroom(skb) >= 2 * NLBUS_TOPIC_LEN) {
		topic = nlbus_topic_above(&bus->topics, id, last_id);
		if (!topic)
			return last_id;
		id = topic->id;
		if (nlbus_caller_may(caller, topic, NLBUS_READ))
			nlbus_answer_put_topic(skb, bus, to, NLM_F_MULTI, topic,
					       since);
		nlbus_topic_put(topic);
		cond_resched();
	}
	return id;
}

static int nlbus_answer_list(struct nlbus_bus *bus, struct sk_buff *from,
			     const struct nlmsghdr *to,
			     const struct nlbus_request *request,
			     struct nlbus_refusal *refusal)
{
	struct nlbus_caller caller;
	struct nlmsghdr *nlh;
	struct sk_buff *skb;
	u64 change, moved;
	u32 last_id, id;

	skb = alloc_skb(NLBUS_LIST_LEN, GFP_KERNEL_ACCOUNT | __GFP_NOWARN);
	if (!skb)
		return nlbus_no_memory(refusal);

	/* All before the topics are looked at: what changes from now on has a
	 * higher count, what appears from now on a higher id. The heads are read
	 * under their locks, inside which the count rises; the barrier keeps the
	 * first look before those locks.
	 */
	moved = atomic64_read(&bus->sys.moved);
	change = atomic64_read(&bus->change);
	smp_mb(); /* pairs with the lock in nlbus_history_append() */
	last_id = nlbus_topics_last_id(&bus->topics);

	nlbus_caller_init(&caller, bus, from);
	caller.quiet = true; /* what he may not read is left out without a word */
	id = nlbus_answer_put_list(skb, bus, &caller, to, request->cursor,
				   last_id,
				   request->has_since ? &request->since : NULL);

	nlh = nlbus_answer_begin(skb, to, 0);
	if (WARN_ON_ONCE(!nlh ||
			 nla_put_u32(skb, NLBUS_TOPIC_A_LAST_ID, last_id) ||
			 nla_put_u64_64bit(skb, NLBUS_TOPIC_A_CHANGE, change,
					   NLBUS_TOPIC_A_PAD) ||
			 nla_put_u64_64bit(skb, NLBUS_TOPIC_A_MOVED, moved,
					   NLBUS_TOPIC_A_PAD) ||
			 (id < last_id &&
			  nla_put_u32(skb, NLBUS_TOPIC_A_CURSOR, id)))) {
		kfree_skb(skb);
		return nlbus_no_memory(refusal);
	}
	nlmsg_end(skb, nlh);
	nlbus_reply_send(bus->sk, skb, NETLINK_CB(from).portid);
	return 0;
}

/* The datagram of a replay: copies of the page's events, and the end. */
static struct sk_buff *nlbus_replay_build(const struct nlbus_page *page,
					  const struct nlmsghdr *to, u32 id)
{
	struct nlmsghdr *nlh, *event = NULL;
	struct sk_buff *skb;
	u32 i;

	skb = alloc_skb(page->len + NLBUS_REPLAY_END_LEN,
			GFP_KERNEL_ACCOUNT | __GFP_NOWARN);
	if (!skb)
		return NULL;

	for (i = 0; i < page->runs; i++) {
		const struct nlbus_piece *piece = &page->pieces[i];

		skb_put_data(skb, piece->run->data + piece->from,
			     piece->to - piece->from);
	}
	while ((event = nlbus_event_in(skb->data, skb->len, event))) {
		event->nlmsg_seq = to->nlmsg_seq;
		event->nlmsg_pid = to->nlmsg_pid;
		nlbus_event_hdr(event)->flags |= NLBUS_EVENT_F_REPLAYED;
	}

	nlh = nlbus_answer_begin(skb, to, 0);
	if (WARN_ON_ONCE(!nlh ||
			 nla_put_u32(skb, NLBUS_REPLAY_A_TOPIC, id) ||
			 nla_put_u64_64bit(skb, NLBUS_REPLAY_A_FIRST,
					   page->first, NLBUS_REPLAY_A_PAD) ||
			 nla_put_u64_64bit(skb, NLBUS_REPLAY_A_NEXT,
					   page->next, NLBUS_REPLAY_A_PAD) ||
			 nla_put_u64_64bit(skb, NLBUS_REPLAY_A_HEAD,
					   page->head, NLBUS_REPLAY_A_PAD))) {
		kfree_skb(skb);
		return NULL;
	}
	nlmsg_end(skb, nlh);
	return skb;
}

static int nlbus_answer_page(struct nlbus_bus *bus, u32 portid,
			     const struct nlmsghdr *to,
			     const struct nlbus_request *request,
			     struct nlbus_topic *topic,
			     struct nlbus_page *page,
			     struct nlbus_refusal *refusal)
{
	struct sk_buff *skb;
	u32 count;

	if (nlbus_page_take(page, &topic->history, request->from))
		return nlbus_refusal_set(refusal, -ERANGE,
					 "topic '%.*s': from %llu is beyond %llu, which comes next",
					 topic->name_len, topic->name,
					 request->from, page->head + 1);

	/* Up to 64 KiB in one piece may not be there: less is an answer too. */
	while (!(skb = nlbus_replay_build(page, to, topic->id)) &&
	       page->count > 1)
		nlbus_page_cut(page, page->count / 2);
	count = page->count;
	nlbus_page_cut(page, 0);
	if (!skb)
		return nlbus_no_memory(refusal);

	if (nlbus_reply_send(bus->sk, skb, portid)) {
		atomic64_add(count, &bus->counters.replayed);
		atomic64_add(count, &topic->replayed);
		trace_nlbus_replay(bus, topic, portid, page->next, count);
	}
	return 0;
}

static int nlbus_answer_replay(struct nlbus_bus *bus, struct sk_buff *from,
			       const struct nlmsghdr *to,
			       const struct nlbus_request *request,
			       struct nlbus_refusal *refusal)
{
	struct nlbus_page page = {
		.most = request->limit ? min_t(u32, request->limit,
					       NLBUS_REPLAY_MAX) :
					 NLBUS_REPLAY_MAX,
		.max_len = NLBUS_DATAGRAM_MAX - NLBUS_REPLAY_END_LEN,
	};
	struct nlbus_topic *topic;
	int err;

	BUILD_BUG_ON(NLBUS_PAYLOAD_MAX + NLMSG_HDRLEN +
		     sizeof(struct nlbus_event_hdr) +
		     ALIGN(NLBUS_TOPIC_MAX, NLBUS_TOPIC_ALIGNTO) +
		     NLBUS_REPLAY_END_LEN > NLBUS_DATAGRAM_MAX);

	if (request->epoch != bus->epoch)
		return nlbus_refusal_set(refusal, -ESTALE,
					 "epoch %#llx isn't that of this bus, %#llx",
					 request->epoch, bus->epoch);
	page.pieces = kmalloc_array(page.most + 1, sizeof(*page.pieces),
				    GFP_KERNEL_ACCOUNT);
	if (!page.pieces)
		return nlbus_no_memory(refusal);
	topic = nlbus_topic_look_up(bus, request, refusal);
	if (IS_ERR(topic)) {
		err = PTR_ERR(topic);
		goto free_pieces;
	}
	err = nlbus_sender_may(bus, from, topic, NLBUS_READ) ?
		nlbus_answer_page(bus, NETLINK_CB(from).portid, to, request,
				  topic, &page, refusal) :
		nlbus_refuse_read(request, refusal);
	nlbus_topic_put(topic);
free_pieces:
	kfree(page.pieces);
	return err;
}

/**
 * nlbus_answer() - do what a request asks for, and send the answer
 * @bus: the bus
 * @skb: the datagram that it came in, in the task that sent it
 * @nlh: the request's message
 * @request: the same, checked
 * @refusal: says why, if it is refused
 *
 * May sleep.
 *
 * Return: 0, or a negative errno of docs/PROTOCOL.md; then nothing was sent.
 */
int nlbus_answer(struct nlbus_bus *bus, struct sk_buff *skb,
		 const struct nlmsghdr *nlh,
		 const struct nlbus_request *request,
		 struct nlbus_refusal *refusal)
{
	switch (nlh->nlmsg_type) {
	case NLBUS_MSG_INFO:
		return nlbus_answer_info(bus, NETLINK_CB(skb).portid, nlh,
					 refusal);
	case NLBUS_MSG_TOPIC:
		if (request->op == NLBUS_TOPIC_OP_LIST)
			return nlbus_answer_list(bus, skb, nlh, request,
						 refusal);
		return nlbus_answer_topic(bus, skb, nlh, request, refusal);
	case NLBUS_MSG_REPLAY:
		return nlbus_answer_replay(bus, skb, nlh, request, refusal);
	default:
		return nlbus_will_set(bus, skb, request, refusal);
	}
}

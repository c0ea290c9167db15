// SPDX-License-Identifier: GPL-2.0
/*
 * Answers are sent from the requester's own task and never wait for him: one
 * datagram a request, so a client that pulls pages sets its own pace.
 */
#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/err.h>
#include <linux/errno.h>
#include <linux/fs.h>
#include <linux/net.h>
#include <linux/netlink.h>
#include <linux/skbuff.h>
#include <linux/slab.h>
#include <net/net_namespace.h>
#include <net/netlink.h>
#include <net/sock.h>

#include "answer.h"
#include "bus.h"
#include "info.h"
#include "params.h"
#include "page.h"
#include "refusal.h"
#include "reply.h"
#include "request.h"
#include "run.h"

/* Bytes of a page of topics. */
#define NLBUS_LIST_LEN		SKB_WITH_OVERHEAD(32768)

/* The longest TOPIC message: one topic, or a list's end. */
#define NLBUS_TOPIC_LEN	(NLMSG_HDRLEN + \
			 6 * nla_total_size(sizeof(u32)) + \
			 8 * nla_total_size_64bit(sizeof(u64)) + \
			 nla_total_size(NLBUS_TOPIC_MAX))

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
	struct nlmsghdr *nlh;

	spin_lock(&history->lock);
	first = history->first;
	head = history->head;
	bytes = history->bytes;
	limit = history->limit;
	change = history->change;
	spin_unlock(&history->lock);
	if (since && change <= *since)
		return 0;

	if (skb_tailroom(skb) < NLBUS_TOPIC_LEN)
		return -EMSGSIZE;
	nlh = nlbus_answer_begin(skb, to, flags);
	if (!nlh ||
	    nla_put_u32(skb, NLBUS_TOPIC_A_ID, topic->id) ||
	    nla_put(skb, NLBUS_TOPIC_A_NAME, topic->name_len, topic->name) ||
	    nla_put_u32(skb, NLBUS_TOPIC_A_GROUP, topic->group) ||
	    nla_put_u64_64bit(skb, NLBUS_TOPIC_A_HEAD, head,
			      NLBUS_TOPIC_A_PAD) ||
	    nla_put_u64_64bit(skb, NLBUS_TOPIC_A_FIRST, first,
			      NLBUS_TOPIC_A_PAD) ||
	    nla_put_u64_64bit(skb, NLBUS_TOPIC_A_BYTES, bytes,
			      NLBUS_TOPIC_A_PAD) ||
	    nla_put_u64_64bit(skb, NLBUS_TOPIC_A_CHANGE, change,
			      NLBUS_TOPIC_A_PAD) ||
	    nla_put_u32(skb, NLBUS_TOPIC_A_MODE, topic->mode) ||
	    nla_put_u32(skb, NLBUS_TOPIC_A_UID,
			from_kuid_munged(user_ns, topic->uid)) ||
	    nla_put_u32(skb, NLBUS_TOPIC_A_GID,
			from_kgid_munged(user_ns, topic->gid)) ||
	    nla_put_u64_64bit(skb, NLBUS_TOPIC_A_HISTORY, limit,
			      NLBUS_TOPIC_A_PAD) ||
	    nla_put_u64_64bit(skb, NLBUS_TOPIC_A_BROADCAST,
			      atomic64_read(&topic->broadcast), NLBUS_TOPIC_A_PAD) ||
	    nla_put_u64_64bit(skb, NLBUS_TOPIC_A_DROPPED,
			      atomic64_read(&topic->dropped), NLBUS_TOPIC_A_PAD) ||
	    nla_put_u64_64bit(skb, NLBUS_TOPIC_A_REPLAYED,
			      atomic64_read(&topic->replayed),
			      NLBUS_TOPIC_A_PAD))
		return -EMSGSIZE;
	nlmsg_end(skb, nlh);
	return 1;
}

static int nlbus_create(struct nlbus_bus *bus,
			const struct nlbus_request *request,
			struct nlbus_topic **found,
			struct nlbus_refusal *refusal)
{
	struct nlbus_topics *topics = &bus->topics;
	struct nlbus_topic *topic;
	bool exists;
	int err = 0;

	if (mutex_lock_killable(&topics->lock))
		return nlbus_refusal_set(refusal, -EINTR,
					 "the sender was killed");
	topic = nlbus_topic_prepare(topics, request->name, request->name_len);
	exists = !topics->n_prepared;
	if (IS_ERR(topic)) {
		err = PTR_ERR(topic);
		nlbus_topics_abort(topics);
	} else {
		nlbus_topics_commit(bus);
	}
	mutex_unlock(&topics->lock);

	*found = topic;
	if (err == -ENOSPC)
		return nlbus_refusal_set(refusal, err,
					 "topic '%.*s': the bus has its limit of %u topics",
					 request->name_len, request->name,
					 nlbus_params.topics);
	if (err)
		return nlbus_refusal_set(refusal, err,
					 "topic '%.*s': no memory to create it",
					 request->name_len, request->name);
	if (exists && request->exclusive)
		return nlbus_refusal_set(refusal, -EEXIST,
					 "topic '%.*s' exists",
					 request->name_len, request->name);
	return 0;
}

/* The owner may, and who administers the namespace's network. The socket's
 * opener has to be one of them, too, though not the same one: a privileged
 * program that was made to write to a descriptor it inherited gains its parent
 * nothing. That holds for datagrams with an address as well, which
 * netlink_ns_capable() lets the sender alone answer for.
 */
static bool nlbus_may_change(struct nlbus_bus *bus,
			     const struct sk_buff *request,
			     const struct nlbus_topic *topic)
{
	const struct file *opened = NETLINK_CB(request).sk->sk_socket->file;
	struct user_namespace *user_ns = bus->net->user_ns;

	/* A socket of the kernel's own has no file. */
	return opened &&
	       (uid_eq(opened->f_cred->fsuid, topic->uid) ||
		file_ns_capable(opened, user_ns, CAP_NET_ADMIN)) &&
	       (uid_eq(current_fsuid(), topic->uid) ||
		ns_capable(user_ns, CAP_NET_ADMIN));
}

static int nlbus_change(struct nlbus_bus *bus, const struct sk_buff *skb,
			const struct nlbus_request *request,
			struct nlbus_topic *topic,
			struct nlbus_refusal *refusal)
{
	if (topic->group == NLBUS_GROUP_SYS)
		return nlbus_refusal_set(refusal, -EACCES,
					 "topic '%.*s': it is the broker's own",
					 topic->name_len, topic->name);
	if (!nlbus_may_change(bus, skb, topic))
		return nlbus_refusal_set(refusal, -EACCES,
					 "topic '%.*s': changing it takes its owner or CAP_NET_ADMIN",
					 topic->name_len, topic->name);
	if (request->history > nlbus_params.history)
		return nlbus_refusal_set(refusal, -ERANGE,
					 "topic '%.*s': %llu bytes are more than all histories may keep, %lu",
					 topic->name_len, topic->name,
					 request->history,
					 nlbus_params.history);
	nlbus_history_set_limit(bus, &topic->history, request->history);
	return 0;
}

static int nlbus_look_up(struct nlbus_bus *bus,
			 const struct nlbus_request *request,
			 struct nlbus_topic **found,
			 struct nlbus_refusal *refusal)
{
	if (request->name)
		*found = nlbus_topic_by_name(&bus->topics, request->name,
					     request->name_len);
	else
		*found = nlbus_topic_by_id(&bus->topics, request->id);
	if (*found)
		return 0;
	if (request->name)
		return nlbus_refusal_set(refusal, -ENOENT, "no topic '%.*s'",
					 request->name_len, request->name);
	return nlbus_refusal_set(refusal, -ENOENT, "no topic has the id %u",
				 request->id);
}

static int nlbus_answer_get(struct nlbus_bus *bus, struct sk_buff *from,
			    const struct nlmsghdr *to,
			    const struct nlbus_request *request,
			    struct nlbus_refusal *refusal)
{
	struct nlbus_topic *topic;
	struct sk_buff *skb;
	int err;

	/* First, so that nothing is created which the answer then says was not. */
	skb = alloc_skb(NLBUS_TOPIC_LEN, GFP_KERNEL_ACCOUNT);
	if (!skb)
		return nlbus_no_memory(refusal);

	err = request->create ? nlbus_create(bus, request, &topic, refusal) :
				nlbus_look_up(bus, request, &topic, refusal);
	if (!err && request->replace)
		err = nlbus_change(bus, from, request, topic, refusal);
	if (err)
		goto free_skb;

	if (WARN_ON_ONCE(nlbus_answer_put_topic(skb, bus, to, 0, topic,
						NULL) != 1)) {
		err = nlbus_no_memory(refusal);
		goto free_skb;
	}
	nlbus_reply_send(bus->sk, skb, NETLINK_CB(from).portid);
	return 0;

free_skb:
	kfree_skb(skb);
	return err;
}

static int nlbus_answer_list(struct nlbus_bus *bus, u32 portid,
			     const struct nlmsghdr *to,
			     const struct nlbus_request *request,
			     struct nlbus_refusal *refusal)
{
	struct nlbus_topic *topic;
	struct nlmsghdr *nlh;
	struct sk_buff *skb;
	bool more = false;
	u32 last_id, id;
	u64 change;

	skb = alloc_skb(NLBUS_LIST_LEN, GFP_KERNEL_ACCOUNT | __GFP_NOWARN);
	if (!skb)
		return nlbus_no_memory(refusal);

	/* Both before the topics are looked at: what changes from now on has a
	 * higher count, what appears from now on a higher id. The heads are read
	 * under their locks, inside which the count rises; the barrier keeps the
	 * first look before those locks.
	 */
	change = atomic64_read(&bus->change);
	smp_mb(); /* pairs with the lock in nlbus_history_append() */
	last_id = nlbus_topics_last_id(&bus->topics);

	for (id = request->cursor; id < last_id; id++) {
		topic = nlbus_topic_by_id(&bus->topics, id + 1);
		if (WARN_ON_ONCE(!topic))
			continue;
		/* Room for the end stays. */
		more = skb_tailroom(skb) < 2 * NLBUS_TOPIC_LEN;
		if (more)
			break;
		nlbus_answer_put_topic(skb, bus, to, NLM_F_MULTI, topic,
				       request->has_since ? &request->since :
							    NULL);
		cond_resched();
	}

	nlh = nlbus_answer_begin(skb, to, 0);
	if (WARN_ON_ONCE(!nlh ||
			 nla_put_u32(skb, NLBUS_TOPIC_A_LAST_ID, last_id) ||
			 nla_put_u64_64bit(skb, NLBUS_TOPIC_A_CHANGE, change,
					   NLBUS_TOPIC_A_PAD) ||
			 (more && nla_put_u32(skb, NLBUS_TOPIC_A_CURSOR, id)))) {
		kfree_skb(skb);
		return nlbus_no_memory(refusal);
	}
	nlmsg_end(skb, nlh);
	nlbus_reply_send(bus->sk, skb, portid);
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
	}
	return 0;
}

static int nlbus_answer_replay(struct nlbus_bus *bus, u32 portid,
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
	topic = nlbus_topic_by_id(&bus->topics, request->id);
	if (!topic)
		return nlbus_refusal_set(refusal, -ENOENT,
					 "no topic has the id %u", request->id);

	page.pieces = kmalloc_array(page.most + 1, sizeof(*page.pieces),
				    GFP_KERNEL_ACCOUNT);
	if (!page.pieces)
		return nlbus_no_memory(refusal);
	err = nlbus_answer_page(bus, portid, to, request, topic, &page,
				refusal);
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
	u32 portid = NETLINK_CB(skb).portid;

	switch (nlh->nlmsg_type) {
	case NLBUS_MSG_INFO:
		return nlbus_answer_info(bus, portid, nlh, refusal);
	case NLBUS_MSG_TOPIC:
		if (request->op == NLBUS_TOPIC_OP_LIST)
			return nlbus_answer_list(bus, portid, nlh, request,
						 refusal);
		return nlbus_answer_get(bus, skb, nlh, request, refusal);
	case NLBUS_MSG_REPLAY:
		return nlbus_answer_replay(bus, portid, nlh, request, refusal);
	default:
		return nlbus_refusal_set(refusal, -EOPNOTSUPP,
					 "this broker serves no wills");
	}
}

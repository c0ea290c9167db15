// SPDX-License-Identifier: GPL-2.0
/*
 * Checks of what clients send, in the order of docs/PROTOCOL.md: the first
 * thing that is wrong is the answer, and then nothing of the datagram counts.
 */
#include <linux/errno.h>
#include <linux/kernel.h>
#include <linux/rcupdate.h>
#include <linux/string.h>
#include <net/netlink.h>

#include "check.h"
#include "lost.h"
#include "name.h"
#include "refusal.h"
#include "request.h"
#include "topic.h"

/* Where a check of publishes is. */
struct nlbus_check {
	const struct nlbus_topics *topics;
	/* The last one whose topic was checked; mostly the next has the same. */
	const struct nlbus_event_hdr *known;
};

/* The name is there with its padding. */
static int nlbus_publish_check_name(struct nlbus_check *check,
				    const struct nlbus_event_hdr *hdr,
				    struct nlbus_refusal *refusal)
{
	const u8 *name = (const u8 *)(hdr + 1);
	u32 len = hdr->topic_len;
	bool good;
	int err;

	if (check->known && check->known->topic_len == len &&
	    nlbus_name_equal((const u8 *)(check->known + 1), name, len))
		return 0;
	/* Who has a name that was checked before has a good one. */
	rcu_read_lock();
	good = nlbus_topic_recent(check->topics, name, len);
	rcu_read_unlock();
	if (!good) {
		err = nlbus_name_check_open(name, len, refusal);
		if (err)
			return err;
	}
	check->known = hdr;
	return 0;
}

static int nlbus_publish_check(struct nlbus_check *check,
			       const struct nlmsghdr *nlh,
			       struct nlbus_refusal *refusal)
{
	const struct nlbus_event_hdr *hdr = nlbus_publish_hdr(nlh);
	u32 len = nlh->nlmsg_len - NLMSG_HDRLEN, name;
	int err;

	if (len < sizeof(*hdr))
		return nlbus_refusal_set(refusal, -EBADMSG,
					 "the event header has %zu bytes, the message's body has %u",
					 sizeof(*hdr), len);
	len -= sizeof(*hdr);
	if (hdr->seq | hdr->time_ns | hdr->topic_id | hdr->portid | hdr->pid |
	    hdr->uid | hdr->reserved)
		return nlbus_refusal_set(refusal, -EINVAL,
					 "a field of the event header that the broker fills isn't zero");
	if (hdr->flags & ~NLBUS_EVENT_F_PUBLISH)
		return nlbus_refusal_set(refusal, -EINVAL,
					 "unknown or reserved event flags %#x",
					 hdr->flags & ~NLBUS_EVENT_F_PUBLISH);
	if (hdr->content > NLBUS_CONTENT_MAX)
		return nlbus_refusal_set(refusal, -EINVAL, "unknown content %u",
					 hdr->content);

	/* Its length first, then whether it is there, then what it says. */
	if (!hdr->topic_len || hdr->topic_len > NLBUS_TOPIC_MAX)
		return nlbus_name_check(NULL, hdr->topic_len, refusal);
	name = ALIGN(hdr->topic_len, NLBUS_TOPIC_ALIGNTO);
	if (name > len)
		return nlbus_refusal_set(refusal, -EBADMSG,
					 "the topic of %u bytes runs with its padding beyond the message",
					 hdr->topic_len);
	len -= name;
	err = nlbus_publish_check_name(check, hdr, refusal);
	if (err)
		return err;

	if (len > NLBUS_PAYLOAD_MAX)
		return nlbus_refusal_set(refusal, -EMSGSIZE,
					 "topic '%.*s': the payload has %u bytes, at most %u are allowed",
					 hdr->topic_len, (const u8 *)(hdr + 1),
					 len, NLBUS_PAYLOAD_MAX);
	return hdr->flags & NLBUS_EVENT_F_LOST ?
		nlbus_lost_check(hdr, len, refusal) : 0;
}

/* Not inline, as on the stack of publishes it would only be zeroed. */
static noinline int nlbus_other_check(const struct nlmsghdr *nlh,
				      struct nlbus_refusal *refusal)
{
	struct nlbus_request request;

	return nlbus_request_check(nlh, &request, refusal);
}

static int nlbus_message_check(struct nlbus_check *check,
			       struct nlbus_datagram *datagram,
			       const struct nlmsghdr *nlh, bool last,
			       struct nlbus_refusal *refusal)
{
	u16 flags = NLM_F_REQUEST | NLM_F_ACK;

	switch (nlh->nlmsg_type) {
	case NLBUS_MSG_TOPIC:
		flags |= NLM_F_CREATE | NLM_F_EXCL | NLM_F_REPLACE;
		break;
	case NLBUS_MSG_PUBLISH:
	case NLBUS_MSG_INFO:
	case NLBUS_MSG_REPLAY:
	case NLBUS_MSG_WILL:
		break;
	default:
		return nlbus_refusal_set(refusal, -EOPNOTSUPP,
					 "no client sends messages of type %#x",
					 nlh->nlmsg_type);
	}
	if (!(nlh->nlmsg_flags & NLM_F_REQUEST))
		return nlbus_refusal_set(refusal, -EINVAL,
					 "NLM_F_REQUEST is missing");
	if (nlh->nlmsg_flags & ~flags)
		return nlbus_refusal_set(refusal, -EINVAL,
					 "unknown message flags %#x",
					 nlh->nlmsg_flags & ~flags);

	if (nlh->nlmsg_type != NLBUS_MSG_PUBLISH) {
		datagram->requests++;
		return nlbus_other_check(nlh, refusal);
	}
	datagram->publishes++;
	if ((nlh->nlmsg_flags & NLM_F_ACK) && !last)
		return nlbus_refusal_set(refusal, -EINVAL,
					 "only the last message of a datagram may ask for an ack");
	return nlbus_publish_check(check, nlh, refusal);
}

/**
 * nlbus_datagram_check() - check a datagram, all but what depends on the bus
 * @datagram: the datagram; filled in
 * @topics: the bus's topics, whose names need no check
 * @refusal: says why, unless all is well-formed
 *
 * Return: 0, or a negative errno of docs/PROTOCOL.md.
 */
int nlbus_datagram_check(struct nlbus_datagram *datagram,
			 const struct nlbus_topics *topics,
			 struct nlbus_refusal *refusal)
{
	const struct nlmsghdr *nlh, *whole, *first = NULL, *no_wait = NULL;
	struct nlbus_check check = { .topics = topics };
	const struct sk_buff *skb = datagram->skb;
	u32 offset, left;
	int err;

	whole = nlbus_message_at(skb, 0);
	if (skb->len > NLBUS_DATAGRAM_MAX) {
		datagram->bad = whole;
		return nlbus_refusal_set(refusal, -EMSGSIZE,
					 "the datagram has %u bytes, at most %u are allowed",
					 skb->len, NLBUS_DATAGRAM_MAX);
	}

	for (offset = 0; offset < skb->len;
	     offset += NLMSG_ALIGN(nlh->nlmsg_len)) {
		left = skb->len - offset;
		if (left < NLMSG_HDRLEN) {
			datagram->bad = NULL;
			return nlbus_refusal_set(refusal, -EBADMSG,
						 "the message at byte %u is cut within its header",
						 offset);
		}
		nlh = nlbus_message_at(skb, offset);
		datagram->bad = nlh;
		if (nlh->nlmsg_len < NLMSG_HDRLEN || nlh->nlmsg_len > left)
			return nlbus_refusal_set(refusal, -EBADMSG,
						 "the message at byte %u claims %u bytes: below %u or beyond the datagram",
						 offset, nlh->nlmsg_len,
						 NLMSG_HDRLEN);
		err = nlbus_message_check(&check, datagram, nlh,
					  NLMSG_ALIGN(nlh->nlmsg_len) >= left,
					  refusal);
		if (err)
			return err;
		if (nlh->nlmsg_type != NLBUS_MSG_PUBLISH)
			continue;
		if (!first)
			first = nlh;
		if (!no_wait &&
		    (nlbus_publish_hdr(nlh)->flags & NLBUS_EVENT_F_NO_WAIT))
			no_wait = nlh;
	}
	datagram->no_wait = no_wait;
	datagram->bad = no_wait ?: first ?: whole;
	return 0;
}

// SPDX-License-Identifier: GPL-2.0
/*
 * Checks of what clients send, in the order of docs/PROTOCOL.md: the first
 * thing that is wrong is the answer, and then nothing of the datagram counts.
 */
#include <linux/errno.h>
#include <linux/kernel.h>
#include <linux/string.h>
#include <net/netlink.h>

#include "check.h"
#include "name.h"
#include "refusal.h"
#include "request.h"

/**
 * nlbus_publish_split() - find the parts of a publish
 * @nlh: the message, whose event header and topic are checked to be there
 * @publish: filled in
 */
void nlbus_publish_split(const struct nlmsghdr *nlh,
			 struct nlbus_publish *publish)
{
	u32 payload;

	publish->hdr = nlmsg_data(nlh);
	publish->name = (const u8 *)(publish->hdr + 1);
	payload = ALIGN(publish->hdr->topic_len, NLBUS_TOPIC_ALIGNTO);
	publish->payload = publish->name + payload;
	publish->payload_len = nlmsg_len(nlh) - sizeof(*publish->hdr) - payload;
}

/* @known: the last event header of the datagram whose topic was checked, or
 * NULL; mostly the next one has the same topic.
 */
static int nlbus_publish_check(const struct nlmsghdr *nlh, bool last,
			       const struct nlbus_event_hdr **known,
			       struct nlbus_refusal *refusal)
{
	const struct nlbus_event_hdr *hdr = nlmsg_data(nlh);
	struct nlbus_publish publish;
	int err;

	if ((nlh->nlmsg_flags & NLM_F_ACK) && !last)
		return nlbus_refusal_set(refusal, -EINVAL,
					 "only the last message of a datagram may ask for an ack");
	if (nlmsg_len(nlh) < (int)sizeof(*hdr))
		return nlbus_refusal_set(refusal, -EBADMSG,
					 "the event header has %zu bytes, the message's body has %d",
					 sizeof(*hdr), nlmsg_len(nlh));
	if (hdr->seq || hdr->time_ns || hdr->topic_id || hdr->portid ||
	    hdr->pid || hdr->uid || hdr->reserved)
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
	if (ALIGN(hdr->topic_len, NLBUS_TOPIC_ALIGNTO) >
	    nlmsg_len(nlh) - (int)sizeof(*hdr))
		return nlbus_refusal_set(refusal, -EBADMSG,
					 "the topic of %u bytes runs with its padding beyond the message",
					 hdr->topic_len);
	nlbus_publish_split(nlh, &publish);
	if (!*known || (*known)->topic_len != hdr->topic_len ||
	    memcmp(*known + 1, publish.name, hdr->topic_len)) {
		err = nlbus_name_check_open(publish.name, hdr->topic_len,
					    refusal);
		if (err)
			return err;
		*known = hdr;
	}

	if (publish.payload_len > NLBUS_PAYLOAD_MAX)
		return nlbus_refusal_set(refusal, -EMSGSIZE,
					 "topic '%.*s': the payload has %u bytes, at most %u are allowed",
					 hdr->topic_len, publish.name,
					 publish.payload_len,
					 NLBUS_PAYLOAD_MAX);
	return 0;
}

static int nlbus_message_check(const struct nlmsghdr *nlh, bool last,
			       const struct nlbus_event_hdr **known,
			       struct nlbus_refusal *refusal)
{
	u16 flags = NLM_F_REQUEST | NLM_F_ACK;
	struct nlbus_request request;

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

	if (nlh->nlmsg_type == NLBUS_MSG_PUBLISH)
		return nlbus_publish_check(nlh, last, known, refusal);
	return nlbus_request_check(nlh, &request, refusal);
}

/**
 * nlbus_datagram_check() - check a datagram, all but what depends on the bus
 * @skb: the datagram
 * @bad: the first bad message's header; NULL if it hasn't a whole one
 * @refusal: says why, unless all is well-formed
 *
 * Return: 0, or a negative errno of docs/PROTOCOL.md.
 */
int nlbus_datagram_check(const struct sk_buff *skb,
			 const struct nlmsghdr **bad,
			 struct nlbus_refusal *refusal)
{
	const struct nlbus_event_hdr *known = NULL;
	const struct nlmsghdr *nlh;
	u32 offset, left;
	int err;

	if (skb->len > NLBUS_DATAGRAM_MAX) {
		*bad = nlbus_message_at(skb, 0);
		return nlbus_refusal_set(refusal, -EMSGSIZE,
					 "the datagram has %u bytes, at most %u are allowed",
					 skb->len, NLBUS_DATAGRAM_MAX);
	}

	for (offset = 0; offset < skb->len;
	     offset += NLMSG_ALIGN(nlh->nlmsg_len)) {
		left = skb->len - offset;
		if (left < NLMSG_HDRLEN) {
			*bad = NULL;
			return nlbus_refusal_set(refusal, -EBADMSG,
						 "the message at byte %u is cut within its header",
						 offset);
		}
		nlh = nlbus_message_at(skb, offset);
		*bad = nlh;
		if (nlh->nlmsg_len < NLMSG_HDRLEN || nlh->nlmsg_len > left)
			return nlbus_refusal_set(refusal, -EBADMSG,
						 "the message at byte %u claims %u bytes: below %u or beyond the datagram",
						 offset, nlh->nlmsg_len,
						 NLMSG_HDRLEN);
		err = nlbus_message_check(nlh,
					  NLMSG_ALIGN(nlh->nlmsg_len) >= left,
					  &known, refusal);
		if (err)
			return err;
	}
	return 0;
}

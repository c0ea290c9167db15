/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Datagrams from clients, checked whole before anything of them is accepted.
 */
#ifndef _NLBUS_CHECK_H
#define _NLBUS_CHECK_H

#include <linux/netlink.h>
#include <linux/skbuff.h>
#include <linux/types.h>
#include <uapi/linux/nlbus.h>

struct nlbus_refusal;
struct nlbus_topics;

/**
 * struct nlbus_datagram - a datagram that is being checked, or was
 * @skb: the datagram
 * @bad: whose header a refusal echoes; NULL if that isn't there whole. Once all is
 *       well-formed, that of the first publish that doesn't wait for room, else of
 *       the first publish, else of the first message: for what is refused whole.
 * @publishes: how many publishes it has
 * @requests: how many requests
 * @no_wait: whether some publish doesn't wait for room
 */
struct nlbus_datagram {
	struct sk_buff *skb;
	const struct nlmsghdr *bad;
	u32 publishes;
	u32 requests;
	bool no_wait;
};

int nlbus_datagram_check(struct nlbus_datagram *datagram,
			 const struct nlbus_topics *topics,
			 struct nlbus_refusal *refusal);

/* The event header of a message that was checked to have one. */
static inline const struct nlbus_event_hdr *
nlbus_publish_hdr(const struct nlmsghdr *nlh)
{
	return (const void *)nlh + NLMSG_HDRLEN;
}

static inline const struct nlmsghdr *
nlbus_message_at(const struct sk_buff *skb, u32 offset)
{
	return (const struct nlmsghdr *)(skb->data + offset);
}

/* The message behind @nlh in a datagram that was checked, the first one for
 * NULL; NULL at the end.
 */
static inline const struct nlmsghdr *
nlbus_message_next(const struct sk_buff *skb, const struct nlmsghdr *nlh)
{
	u32 offset = 0;

	if (nlh)
		offset = (const u8 *)nlh - skb->data +
			 NLMSG_ALIGN(nlh->nlmsg_len);
	return offset < skb->len ? nlbus_message_at(skb, offset) : NULL;
}

#endif /* _NLBUS_CHECK_H */

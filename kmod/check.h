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

/**
 * struct nlbus_publish - a publish that was checked
 * @hdr: event header, in the message
 * @name: topic, in the message
 * @payload: payload, in the message
 * @payload_len: its bytes
 */
struct nlbus_publish {
	const struct nlbus_event_hdr *hdr;
	const u8 *name;
	const u8 *payload;
	u32 payload_len;
};

int nlbus_datagram_check(const struct sk_buff *skb,
			 const struct nlmsghdr **bad,
			 struct nlbus_refusal *refusal);
void nlbus_publish_split(const struct nlmsghdr *nlh,
			 struct nlbus_publish *publish);

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

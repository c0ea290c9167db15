/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Answers that are no data: acks and refusals, both NLMSG_ERROR.
 */
#ifndef _NLBUS_REPLY_H
#define _NLBUS_REPLY_H

#include <linux/types.h>

struct list_head;
struct nlmsghdr;
struct nlbus_refusal;
struct nlbus_run;
struct sk_buff;
struct sock;

struct sk_buff *nlbus_ack_new(const struct nlmsghdr *to, bool event, gfp_t gfp);
void nlbus_ack_number(struct sk_buff *ack, u64 seq);
void nlbus_run_sent(struct sock *sk, struct nlbus_run *run);
void nlbus_run_sent_list(struct sock *sk, struct list_head *runs);
bool nlbus_reply_send(struct sock *sk, struct sk_buff *skb, u32 portid);
void nlbus_refuse(struct sock *sk, u32 portid, const struct nlmsghdr *to,
		  struct nlbus_refusal *refusal);

#endif /* _NLBUS_REPLY_H */

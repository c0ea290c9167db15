/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Answers to requests that were checked.
 */
#ifndef _NLBUS_ANSWER_H
#define _NLBUS_ANSWER_H

#include <linux/types.h>

struct nlbus_bus;
struct nlbus_refusal;
struct nlbus_request;
struct nlmsghdr;
struct sk_buff;

int nlbus_answer(struct nlbus_bus *bus, struct sk_buff *skb,
		 const struct nlmsghdr *nlh,
		 const struct nlbus_request *request,
		 struct nlbus_refusal *refusal);

#endif /* _NLBUS_ANSWER_H */

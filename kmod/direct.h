/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Direct dispatch: what finds the bus idle goes out in its publisher's own task.
 */
#ifndef _NLBUS_DIRECT_H
#define _NLBUS_DIRECT_H

#include <linux/types.h>

struct list_head;
struct nlbus_bus;
struct nlbus_sender;
struct sk_buff;

bool nlbus_direct(struct nlbus_bus *bus, struct list_head *runs);
bool nlbus_direct_lone(struct nlbus_bus *bus, struct sk_buff *skb,
		       const struct nlbus_sender *from);

#endif /* _NLBUS_DIRECT_H */

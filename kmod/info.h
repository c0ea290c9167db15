/* SPDX-License-Identifier: GPL-2.0 */
/*
 * INFO's attributes.
 */
#ifndef _NLBUS_INFO_H
#define _NLBUS_INFO_H

struct nlbus_bus;
struct sk_buff;

/* Enough bytes for all of them. */
#define NLBUS_INFO_LEN	1024

int nlbus_info_put(struct sk_buff *skb, struct nlbus_bus *bus);

#endif /* _NLBUS_INFO_H */

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Last wills: an event that a client leaves, to be published when it goes away.
 */
#ifndef _NLBUS_WILL_H
#define _NLBUS_WILL_H

#include <linux/list.h>
#include <linux/types.h>

#include "access.h"

struct nlbus_bus;
struct nlbus_refusal;
struct nlbus_request;
struct nlbus_run;
struct nlbus_share;
struct sk_buff;

/**
 * struct nlbus_will - a client's last will
 * @link: among those that are due
 * @bus: the bus
 * @run: the event, all but its number, and without a topic: it may be deleted, or
 *       created, before the client goes
 * @caller: who left it, with references: whether he may publish it is asked when it
 *          is due, too
 * @access: what the topic has if it is to be created
 * @share: whom it counts for, with a reference; NULL for who is privileged
 */
struct nlbus_will {
	struct list_head link;
	struct nlbus_bus *bus;
	struct nlbus_run *run;
	struct nlbus_caller caller;
	struct nlbus_access access;
	struct nlbus_share *share;
};

int nlbus_will_set(struct nlbus_bus *bus, const struct sk_buff *skb,
		   const struct nlbus_request *request,
		   struct nlbus_refusal *refusal);
void nlbus_will_free(struct nlbus_will *will);
void nlbus_wills_publish(struct nlbus_bus *bus, struct list_head *due);

#endif /* _NLBUS_WILL_H */

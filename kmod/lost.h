/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Numbers of a topic that no event has.
 */
#ifndef _NLBUS_LOST_H
#define _NLBUS_LOST_H

#include <linux/list.h>
#include <linux/types.h>
#include <uapi/linux/nlbus.h>

#include "check.h"

struct nlbus_bus;
struct nlbus_history;
struct nlbus_refusal;
struct nlbus_run;
struct nlbus_topic;

int nlbus_lost_check(const struct nlbus_event_hdr *hdr, u32 len,
		     struct nlbus_refusal *refusal);
int nlbus_lost_check_topic(struct nlbus_topic *topic,
			   struct nlbus_refusal *refusal);
void nlbus_lost_use(struct nlbus_bus *bus, struct nlbus_history *history,
		    u64 count);
void nlbus_lost_number(struct nlbus_bus *bus, struct nlbus_run *run);
void nlbus_lost_tell(struct list_head *lost, struct list_head *sent);

/* Whether a publish uses up numbers, and is no event. */
static inline bool nlbus_lost(const struct nlmsghdr *nlh)
{
	return nlbus_publish_hdr(nlh)->flags & NLBUS_EVENT_F_LOST;
}

#endif /* _NLBUS_LOST_H */

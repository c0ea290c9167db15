/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The module's parameters, fixed once it is loaded.
 */
#ifndef _NLBUS_PARAMS_H
#define _NLBUS_PARAMS_H

#include <linux/types.h>

#define NLBUS_MODULE_VERSION	"0.1.0"

/**
 * struct nlbus_params - limits of each bus, as main.c checked them
 * @protocol: netlink protocol
 * @groups: number of multicast groups
 * @private_groups: of these, those for topics that not everybody may read
 * @topics: topics on one bus, the broker's own included
 * @pack: bytes of a packed broadcast
 * @heartbeat_ms: interval of $SYS/heartbeat, 0 = off
 * @wills: last wills on one bus
 * @queue: bytes published and not yet sequenced
 * @history: bytes of all histories of one bus
 * @topic_history: bytes of one topic's history
 * @topic_mode: mode of new topics
 * @user_topics: topics that one user may create, on all buses together
 * @user_wills: last wills that one user may leave, likewise
 * @user_queue: bytes that one user may have in queues, likewise
 * @user_history: bytes of histories of topics that one user created, likewise
 * @user_private_groups: private groups that one user may use up on one bus
 */
struct nlbus_params {
	unsigned int protocol;
	unsigned int groups;
	unsigned int private_groups;
	unsigned int topics;
	unsigned int pack;
	unsigned int heartbeat_ms;
	unsigned int wills;
	unsigned long queue;
	unsigned long history;
	unsigned long topic_history;
	unsigned int topic_mode;
	unsigned int user_topics;
	unsigned int user_wills;
	unsigned long user_queue;
	unsigned long user_history;
	unsigned int user_private_groups;
};

extern struct nlbus_params nlbus_params;

#endif /* _NLBUS_PARAMS_H */

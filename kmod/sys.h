/* SPDX-License-Identifier: GPL-2.0 */
/*
 * $SYS: what the broker itself has to say.
 */
#ifndef _NLBUS_SYS_H
#define _NLBUS_SYS_H

#include <linux/atomic.h>
#include <linux/types.h>

struct nlbus_bus;
struct nlbus_topic;

/**
 * struct nlbus_sys - the broker's own topics; the bus thread's own
 * @heartbeat: $SYS/heartbeat
 * @topics: $SYS/topics
 * @closing: $SYS/closing
 * @clients: $SYS/clients
 * @heartbeat_at: when the next heartbeat is due, in jiffies; 64 bits, as between
 *                two looks any time may pass
 * @topics_at: when $SYS/topics may be next published, likewise
 * @shut_at: when everybody is next told that the bus is closed, likewise
 * @clients_at: when $SYS/clients may be next published, likewise
 * @seen: the newest topic's id that was looked at
 * @announced: the newest topic's id that was announced
 * @heard: how many topics that moved or ended were looked at, see &nlbus_moves.news
 * @moved: how many were announced; others read it
 * @clients_due: word of clients waits for its time
 * @closed: $SYS/closing was published, or there was no memory for it
 */
struct nlbus_sys {
	struct nlbus_topic *heartbeat;
	struct nlbus_topic *topics;
	struct nlbus_topic *closing;
	struct nlbus_topic *clients;
	u64 heartbeat_at;
	u64 topics_at;
	u64 clients_at;
	u64 shut_at;
	u32 seen;
	u32 announced;
	u32 heard;
	atomic64_t moved;
	bool clients_due;
	bool closed;
};

int nlbus_sys_start(struct nlbus_bus *bus);
long nlbus_sys_run(struct nlbus_bus *bus);
bool nlbus_sys_news(const struct nlbus_bus *bus);

#endif /* _NLBUS_SYS_H */

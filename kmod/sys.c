// SPDX-License-Identifier: GPL-2.0
/*
 * $SYS: heartbeats, and word of topics that are new, moved or gone. These events arise in the bus
 * thread and are sequenced on the spot: they never wait in the queue, and a
 * full queue can't hold them up.
 */
#include <linux/err.h>
#include <linux/jiffies.h>
#include <linux/netlink.h>
#include <linux/sched.h>
#include <linux/timekeeping.h>

#include "access.h"
#include "bus.h"
#include "moves.h"
#include "params.h"
#include "run.h"
#include "sys.h"

/* Who misses heartbeats wants the newest, who misses $SYS/topics too. */
#define NLBUS_SYS_HISTORY	4096

/* Topics that appear within this time share one event, but for the first; and clients
 * that come or go.
 */
#define NLBUS_SYS_TOPICS_MS	20

/* Topics that one event names at most: some 3 KiB; clients as well. */
#define NLBUS_SYS_NAMES		256

/* Events about topics that are published at once: those who follow $SYS have to
 * have room for them.
 */
#define NLBUS_SYS_TOPICS_TURN	16

static struct nlbus_topic *nlbus_sys_prepare(struct nlbus_bus *bus,
					     const char *name, u32 group)
{
	const struct nlbus_access access = {
		.mode = NLBUS_READ,
		.uid = GLOBAL_ROOT_UID,
		.gid = GLOBAL_ROOT_GID,
	};
	struct nlbus_topic *topic;

	topic = nlbus_topic_prepare(bus, name, strlen(name), &access,
				    NULL, NULL);
	if (IS_ERR(topic))
		return topic;
	topic->group = group;
	topic->history.limit = NLBUS_SYS_HISTORY;
	nlbus_topic_put(topic); /* it stays as long as the bus */
	return topic;
}

/**
 * nlbus_sys_start() - create the broker's own topics
 * @bus: the bus, whose thread doesn't run yet
 *
 * They are the first ones, so each has the same id on each bus.
 *
 * Return: 0 or -ENOMEM.
 */
int nlbus_sys_start(struct nlbus_bus *bus)
{
	struct nlbus_sys *sys = &bus->sys;
	int err = 0;

	mutex_lock(&bus->topics.lock);
	sys->heartbeat = nlbus_sys_prepare(bus, NLBUS_SYS_HEARTBEAT,
					   NLBUS_GROUP_SYS);
	sys->topics = nlbus_sys_prepare(bus, NLBUS_SYS_TOPICS, NLBUS_GROUP_SYS);
	sys->closing = nlbus_sys_prepare(bus, NLBUS_SYS_CLOSING,
					 NLBUS_GROUP_SYS);
	sys->clients = nlbus_sys_prepare(bus, NLBUS_SYS_CLIENTS,
					 NLBUS_GROUP_CLIENTS);
	if (IS_ERR(sys->heartbeat) || IS_ERR(sys->topics) ||
	    IS_ERR(sys->closing) || IS_ERR(sys->clients)) {
		nlbus_topics_abort(&bus->topics);
		err = -ENOMEM;
	} else {
		nlbus_topics_commit(bus);
	}
	mutex_unlock(&bus->topics.lock);

	sys->heartbeat_at = get_jiffies_64();
	sys->topics_at = sys->heartbeat_at;
	sys->clients_at = sys->heartbeat_at;
	sys->shut_at = sys->heartbeat_at;
	sys->announced = bus->topics.last_id;
	sys->seen = bus->topics.last_id;
	return err;
}

static void nlbus_sys_sequence(struct nlbus_bus *bus, struct nlbus_run *run)
{
	nlbus_bus_sequence(bus, run, ktime_get_boottime_ns());
}

/* Worth no more than a try: the next one says all that this one would have. */
static void nlbus_sys_publish_heartbeat(struct nlbus_bus *bus)
{
	u64 uptime = ktime_get_boottime_ns() - bus->began_ns;
	struct nlbus_sys_heartbeat *beat;
	struct nlbus_run *run;
	void *payload;

	run = nlbus_run_kernel(bus->sys.heartbeat, sizeof(*beat), &payload);
	if (!run)
		return;
	beat = payload;
	*beat = (struct nlbus_sys_heartbeat) {
		.epoch = cpu_to_le64(bus->epoch),
		.uptime_ns = cpu_to_le64(uptime),
		.published = cpu_to_le64(atomic64_read(&bus->counters.published)),
		.overruns = cpu_to_le64(atomic64_read(&bus->counters.overruns)),
		.change = cpu_to_le64(atomic64_read(&bus->change)),
		.last_id = cpu_to_le32(nlbus_topics_last_id(&bus->topics)),
		.moved = cpu_to_le64(atomic64_read(&bus->sys.moved)),
	};
	nlbus_sys_sequence(bus, run);
}

/* Names as many of the topics that moved or ended as one event may. Without memory
 * there is no event, and no number is used up. Return: whether there is one.
 */
static bool nlbus_sys_publish_topics(struct nlbus_bus *bus)
{
	u32 most = min_t(u32, READ_ONCE(bus->moves.count), NLBUS_SYS_NAMES);
	struct nlbus_sys_topics *topics;
	struct nlbus_sys_topic *names;
	struct nlbus_run *run;
	void *payload;
	u32 count;

	run = nlbus_run_kernel(bus->sys.topics,
			       sizeof(*topics) + most * sizeof(*names),
			       &payload);
	if (!run)
		return false;
	topics = payload;
	names = payload + sizeof(*topics);
	count = nlbus_moves_name(&bus->moves, names, most);
	nlbus_run_cut(run, (most - count) * sizeof(*names));
	*topics = (struct nlbus_sys_topics) {
		.last_id = cpu_to_le32(bus->sys.seen),
		.moved = cpu_to_le64(atomic64_add_return(count, &bus->sys.moved)),
		.count = cpu_to_le64(count),
	};
	nlbus_sys_sequence(bus, run);
	return true;
}

/* Announces all topics, or most of them. Return: whether nothing is left. */
static bool nlbus_sys_announce(struct nlbus_bus *bus)
{
	u32 turn = NLBUS_SYS_TOPICS_TURN;

	do {
		if (!turn-- || !nlbus_sys_publish_topics(bus))
			return false;
		bus->sys.announced = bus->sys.seen;
	} while (READ_ONCE(bus->moves.count));
	return true;
}

/* Names as many of the clients that came and went as one event may. Return: whether
 * there is such an event; else there is no memory for it.
 */
static bool nlbus_sys_publish_clients(struct nlbus_bus *bus)
{
	/* Who came and went is named twice. */
	u32 most = min_t(u32, 2 * READ_ONCE(bus->clients.untold),
			 NLBUS_SYS_NAMES);
	struct nlbus_sys_clients *clients;
	struct nlbus_sys_client *named;
	struct nlbus_run *run;
	u64 joined, left;
	void *payload;
	u32 count;

	run = nlbus_run_kernel(bus->sys.clients,
			       sizeof(*clients) + most * sizeof(*named),
			       &payload);
	if (!run)
		return false;
	clients = payload;
	named = payload + sizeof(*clients);
	count = nlbus_clients_tell(&bus->clients, named, most, &joined,
				   &left);
	nlbus_run_cut(run, (most - count) * sizeof(*named));
	*clients = (struct nlbus_sys_clients) {
		.joined = cpu_to_le64(joined),
		.left = cpu_to_le64(left),
		.count = cpu_to_le64(count),
	};
	nlbus_sys_sequence(bus, run);
	return true;
}

/* Tells of clients that came and went, if it is time. Return: jiffies until it is. */
static long nlbus_sys_tell_clients(struct nlbus_bus *bus, u64 now)
{
	struct nlbus_sys *sys = &bus->sys;
	u32 turn = NLBUS_SYS_TOPICS_TURN;

	sys->clients_due = false;
	if (!nlbus_clients_any_news(&bus->clients))
		return MAX_SCHEDULE_TIMEOUT;
	if (!time_before64(now, sys->clients_at)) {
		sys->clients_at = now + msecs_to_jiffies(NLBUS_SYS_TOPICS_MS);
		while (nlbus_clients_any_news(&bus->clients) && turn-- &&
		       nlbus_sys_publish_clients(bus))
			;
		if (!nlbus_clients_any_news(&bus->clients))
			return MAX_SCHEDULE_TIMEOUT;
	}
	sys->clients_due = true;
	return sys->clients_at - now;
}

/* The last event of the bus, behind all that was accepted. */
static void nlbus_sys_close(struct nlbus_bus *bus)
{
	struct nlbus_run *run;
	void *payload;

	bus->sys.closed = true;
	run = nlbus_run_kernel(bus->sys.closing, 0, &payload);
	if (run)
		nlbus_sys_sequence(bus, run);
	nlbus_packs_flush(bus);
}

/* Tells everybody that it is over. */
static void nlbus_sys_shut(struct nlbus_bus *bus)
{
	netlink_set_err(bus->sk, 0, NLBUS_GROUP_SYS, -ESHUTDOWN);
	nlbus_clients_shut(&bus->clients);
}

/* A retired module's bus ends once all that was accepted is broadcast. */
static bool nlbus_sys_close_due(const struct nlbus_bus *bus)
{
	return nlbus_bus_retired() && !bus->sys.closed &&
	       nlbus_queue_done(&bus->queue);
}

/**
 * nlbus_sys_run() - sequence what is due
 * @bus: the bus, whose thread is the caller and flushes the packs
 *
 * Return: jiffies until the next call, MAX_SCHEDULE_TIMEOUT for no need.
 */
long nlbus_sys_run(struct nlbus_bus *bus)
{
	unsigned long interval = msecs_to_jiffies(nlbus_params.heartbeat_ms);
	struct nlbus_sys *sys = &bus->sys;
	long timeout = MAX_SCHEDULE_TIMEOUT;
	u64 now = get_jiffies_64(), joined, left;

	if (nlbus_sys_close_due(bus))
		nlbus_sys_close(bus);
	if (sys->closed) {
		/* Over and over: who joined meanwhile, or had no room for the
		 * last event, must learn it, too, or he holds the module.
		 */
		if (!time_before64(now, sys->shut_at)) {
			nlbus_sys_shut(bus);
			sys->shut_at = now + HZ;
		}
		sys->heard = READ_ONCE(bus->moves.news);
		nlbus_moves_name(&bus->moves, NULL, U32_MAX);
		nlbus_clients_tell(&bus->clients, NULL, U32_MAX, &joined, &left);
		return sys->shut_at - now;
	}

	sys->heard = READ_ONCE(bus->moves.news);
	sys->seen = nlbus_topics_last_id(&bus->topics);
	if (sys->seen != sys->announced || READ_ONCE(bus->moves.count)) {
		if (time_before64(now, sys->topics_at)) {
			timeout = sys->topics_at - now;
		} else {
			sys->topics_at = now +
				msecs_to_jiffies(NLBUS_SYS_TOPICS_MS);
			/* Nobody may ever announce them again: so once more. */
			if (!nlbus_sys_announce(bus))
				timeout = sys->topics_at - now;
		}
	}

	timeout = min(timeout, nlbus_sys_tell_clients(bus, now));

	if (nlbus_params.heartbeat_ms) {
		if (!time_before64(now, sys->heartbeat_at)) {
			nlbus_sys_publish_heartbeat(bus);
			sys->heartbeat_at += interval;
			if (!time_before64(now, sys->heartbeat_at))
				sys->heartbeat_at = now + interval;
		}
		timeout = min_t(long, timeout, sys->heartbeat_at - now);
	}
	return timeout;
}

/**
 * nlbus_sys_news() - whether something is due that nlbus_sys_run() hasn't seen
 * @bus: the bus, whose thread is the caller
 *
 * Return: true if so.
 */
bool nlbus_sys_news(const struct nlbus_bus *bus)
{
	return nlbus_sys_close_due(bus) ||
	       READ_ONCE(bus->moves.news) != bus->sys.heard ||
	       (!bus->sys.closed && !bus->sys.clients_due &&
		nlbus_clients_any_news(&bus->clients)) ||
	       (!bus->sys.closed &&
		nlbus_topics_last_id(&bus->topics) != bus->sys.seen);
}

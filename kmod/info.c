// SPDX-License-Identifier: GPL-2.0
/*
 * INFO's attributes, for both doors: a request on the bus, and the generic
 * netlink family.
 */
#include <linux/errno.h>
#include <linux/ktime.h>
#include <linux/timekeeping.h>
#include <net/netlink.h>
#include <uapi/linux/nlbus.h>

#include "bus.h"
#include "info.h"
#include "params.h"

static int nlbus_info_put_u64(struct sk_buff *skb, int type, u64 value)
{
	/* PAD is 1 in INFO as in each of its nests. */
	BUILD_BUG_ON((int)NLBUS_INFO_A_PAD != (int)NLBUS_LIMIT_A_PAD);
	BUILD_BUG_ON((int)NLBUS_INFO_A_PAD != (int)NLBUS_COUNTER_A_PAD);
	return nla_put_u64_64bit(skb, type, value, NLBUS_INFO_A_PAD);
}

static int nlbus_info_put_limits(struct sk_buff *skb)
{
	struct nlattr *nest = nla_nest_start(skb, NLBUS_INFO_A_LIMITS);

	if (!nest ||
	    nla_put_u32(skb, NLBUS_LIMIT_A_TOPICS, nlbus_params.topics) ||
	    nla_put_u32(skb, NLBUS_LIMIT_A_PAYLOAD, NLBUS_PAYLOAD_MAX) ||
	    nla_put_u32(skb, NLBUS_LIMIT_A_DATAGRAM, NLBUS_DATAGRAM_MAX) ||
	    nla_put_u32(skb, NLBUS_LIMIT_A_PACK, nlbus_params.pack) ||
	    nlbus_info_put_u64(skb, NLBUS_LIMIT_A_QUEUE, nlbus_params.queue) ||
	    nlbus_info_put_u64(skb, NLBUS_LIMIT_A_HISTORY,
			       nlbus_params.history) ||
	    nlbus_info_put_u64(skb, NLBUS_LIMIT_A_TOPIC_HISTORY,
			       nlbus_params.topic_history) ||
	    nla_put_u32(skb, NLBUS_LIMIT_A_PRIVATE_GROUPS,
			nlbus_params.private_groups) ||
	    nla_put_u32(skb, NLBUS_LIMIT_A_TOPIC_MODE,
			nlbus_params.topic_mode) ||
	    nla_put_u32(skb, NLBUS_LIMIT_A_USER_TOPICS,
			nlbus_params.user_topics) ||
	    nlbus_info_put_u64(skb, NLBUS_LIMIT_A_USER_QUEUE,
			       nlbus_params.user_queue) ||
	    nlbus_info_put_u64(skb, NLBUS_LIMIT_A_USER_HISTORY,
			       nlbus_params.user_history) ||
	    nla_put_u32(skb, NLBUS_LIMIT_A_USER_PRIVATE_GROUPS,
			nlbus_params.user_private_groups) ||
	    nla_put_u32(skb, NLBUS_LIMIT_A_WILLS, nlbus_params.wills) ||
	    nla_put_u32(skb, NLBUS_LIMIT_A_USER_WILLS,
			nlbus_params.user_wills))
		return -EMSGSIZE;
	nla_nest_end(skb, nest);
	return 0;
}

static int nlbus_info_put_counters(struct sk_buff *skb, struct nlbus_bus *bus)
{
	struct nlattr *nest = nla_nest_start(skb, NLBUS_INFO_A_COUNTERS);
	const struct {
		int type;
		u64 value;
	} counters[] = {
		{ NLBUS_COUNTER_A_PUBLISHED,
		  atomic64_read(&bus->counters.published) },
		{ NLBUS_COUNTER_A_REFUSED,
		  atomic64_read(&bus->counters.refused) },
		{ NLBUS_COUNTER_A_BROADCASTS,
		  atomic64_read(&bus->counters.broadcasts) },
		{ NLBUS_COUNTER_A_OVERRUNS,
		  atomic64_read(&bus->counters.overruns) },
		{ NLBUS_COUNTER_A_REPLAYED,
		  atomic64_read(&bus->counters.replayed) },
		{ NLBUS_COUNTER_A_EVICTED,
		  atomic64_read(&bus->counters.evicted) },
		{ NLBUS_COUNTER_A_KERNEL_DROPPED,
		  atomic64_read(&bus->counters.kernel_dropped) },
		{ NLBUS_COUNTER_A_TOPICS, nlbus_topics_count(&bus->topics) },
		{ NLBUS_COUNTER_A_QUEUE, READ_ONCE(bus->queue.room.used) },
		{ NLBUS_COUNTER_A_HISTORY, READ_ONCE(bus->history_bytes) },
		{ NLBUS_COUNTER_A_MOVED, atomic64_read(&bus->sys.moved) },
		{ NLBUS_COUNTER_A_PRIVATE_GROUPS,
		  READ_ONCE(bus->topics.groups.used) },
		{ NLBUS_COUNTER_A_CLIENTS, READ_ONCE(bus->clients.count) },
		{ NLBUS_COUNTER_A_WILLS, atomic_read(&bus->wills) },
		{ NLBUS_COUNTER_A_LOST, atomic64_read(&bus->counters.lost) },
	};
	int i;

	if (!nest)
		return -EMSGSIZE;
	for (i = 0; i < ARRAY_SIZE(counters); i++)
		if (nlbus_info_put_u64(skb, counters[i].type,
				       counters[i].value))
			return -EMSGSIZE;
	nla_nest_end(skb, nest);
	return 0;
}

/**
 * nlbus_info_put() - say who we are
 * @skb: where to append INFO's attributes, at most NLBUS_INFO_LEN bytes
 * @bus: the bus; it needn't be started
 *
 * Return: 0 or -EMSGSIZE.
 */
int nlbus_info_put(struct sk_buff *skb, struct nlbus_bus *bus)
{
	u64 boot = ktime_get_boottime_ns();
	u64 offset = ktime_get_real_ns() - boot;

	if (nla_put_u32(skb, NLBUS_INFO_A_VERSION, NLBUS_VERSION) ||
	    nla_put_u32(skb, NLBUS_INFO_A_BROKER, NLBUS_BROKER_MODULE) ||
	    nlbus_info_put_u64(skb, NLBUS_INFO_A_EPOCH, bus->epoch) ||
	    nla_put_u32(skb, NLBUS_INFO_A_PROTOCOL, nlbus_params.protocol) ||
	    nla_put_u32(skb, NLBUS_INFO_A_PUBLISH_PORT, 0) ||
	    nla_put_u32(skb, NLBUS_INFO_A_REQUEST_PORT, 0) ||
	    nla_put_u32(skb, NLBUS_INFO_A_GROUPS, nlbus_params.groups) ||
	    nlbus_info_put_u64(skb, NLBUS_INFO_A_UPTIME_NS,
			       boot - bus->began_ns) ||
	    nlbus_info_put_u64(skb, NLBUS_INFO_A_CLOCK_OFFSET_NS, offset) ||
	    nla_put_u32(skb, NLBUS_INFO_A_HEARTBEAT_MS,
			nlbus_params.heartbeat_ms) ||
	    nlbus_info_put_limits(skb) ||
	    nlbus_info_put_counters(skb, bus))
		return -EMSGSIZE;
	return 0;
}

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Tracepoints: /sys/kernel/tracing/events/nlbus. All have the inode number of the bus's
 * network namespace, as /proc/PID/ns/net shows it.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM nlbus

#if !defined(_NLBUS_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define _NLBUS_TRACE_H

#include <linux/tracepoint.h>
#include <net/net_namespace.h>
#include <uapi/linux/nlbus.h>

#include "bus.h"
#include "run.h"
#include "topic.h"

/* An event has its number. */
TRACE_EVENT(nlbus_publish,
	TP_PROTO(const struct nlbus_bus *bus, struct nlmsghdr *event),
	TP_ARGS(bus, event),
	TP_STRUCT__entry(
		__field(u32, netns)
		__field(u32, topic_id)
		__field(u64, seq)
		__field(u32, portid)
		__field(u32, pid)
		__field(u32, uid)
		__field(u16, flags)
		__field(u32, len)
		__dynamic_array(char, topic,
				nlbus_event_hdr(event)->topic_len + 1)
	),
	TP_fast_assign(
		const struct nlbus_event_hdr *hdr = nlbus_event_hdr(event);

		__entry->netns = bus->net->ns.inum;
		__entry->topic_id = hdr->topic_id;
		__entry->seq = hdr->seq;
		__entry->portid = hdr->portid;
		__entry->pid = hdr->pid;
		__entry->uid = hdr->uid;
		__entry->flags = hdr->flags;
		__entry->len = event->nlmsg_len -
			       nlbus_event_len(hdr->topic_len, 0);
		memcpy(__get_dynamic_array(topic), hdr + 1, hdr->topic_len);
		((char *)__get_dynamic_array(topic))[hdr->topic_len] = 0;
	),
	TP_printk("netns=%u topic=%s id=%u seq=%llu portid=%u pid=%u uid=%u flags=%#x len=%u",
		  __entry->netns, (char *)__get_dynamic_array(topic),
		  __entry->topic_id, __entry->seq, __entry->portid,
		  __entry->pid, __entry->uid, __entry->flags, __entry->len)
);

/* A datagram of @len bytes of events was sent to a group. */
TRACE_EVENT(nlbus_broadcast,
	TP_PROTO(const struct nlbus_bus *bus, u32 group, u32 len, bool taken),
	TP_ARGS(bus, group, len, taken),
	TP_STRUCT__entry(
		__field(u32, netns)
		__field(u32, group)
		__field(u32, len)
		__field(bool, taken)
	),
	TP_fast_assign(
		__entry->netns = bus->net->ns.inum;
		__entry->group = group;
		__entry->len = len;
		__entry->taken = taken;
	),
	TP_printk("netns=%u group=%u len=%u taken=%d", __entry->netns,
		  __entry->group, __entry->len, __entry->taken)
);

/* Numbers are used up that no event has, the last one of which is @seq: @event is the
 * publish that says so.
 */
TRACE_EVENT(nlbus_lost,
	TP_PROTO(const struct nlbus_bus *bus, struct nlmsghdr *event, u64 seq,
		 u64 count),
	TP_ARGS(bus, event, seq, count),
	TP_STRUCT__entry(
		__field(u32, netns)
		__field(u32, portid)
		__field(u64, seq)
		__field(u64, count)
		__field(u32, pid)
		__field(u32, uid)
		__dynamic_array(char, topic,
				nlbus_event_hdr(event)->topic_len + 1)
	),
	TP_fast_assign(
		const struct nlbus_event_hdr *hdr = nlbus_event_hdr(event);

		__entry->netns = bus->net->ns.inum;
		__entry->portid = hdr->portid;
		__entry->seq = seq;
		__entry->count = count;
		__entry->pid = hdr->pid;
		__entry->uid = hdr->uid;
		memcpy(__get_dynamic_array(topic), hdr + 1, hdr->topic_len);
		((char *)__get_dynamic_array(topic))[hdr->topic_len] = 0;
	),
	TP_printk("netns=%u topic=%s seq=%llu count=%llu portid=%u pid=%u uid=%u",
		  __entry->netns, (char *)__get_dynamic_array(topic),
		  __entry->seq, __entry->count, __entry->portid, __entry->pid,
		  __entry->uid)
);

/* An event isn't broadcast: @err is -ENOBUFS or -ENOMEM for one of kernel code's, which
 * isn't kept, either; 0 for one that is kept.
 */
TRACE_EVENT(nlbus_drop,
	TP_PROTO(const struct nlbus_bus *bus, const u8 *name, u8 name_len,
		 u32 count, int err),
	TP_ARGS(bus, name, name_len, count, err),
	TP_STRUCT__entry(
		__field(u32, netns)
		__field(u32, count)
		__field(int, err)
		__dynamic_array(char, topic, name_len + 1)
	),
	TP_fast_assign(
		__entry->netns = bus->net->ns.inum;
		__entry->count = count;
		__entry->err = err;
		memcpy(__get_dynamic_array(topic), name, name_len);
		((char *)__get_dynamic_array(topic))[name_len] = 0;
	),
	TP_printk("netns=%u topic=%s count=%u err=%d", __entry->netns,
		  (char *)__get_dynamic_array(topic), __entry->count,
		  __entry->err)
);

/* Events were sent out of history to one client. */
TRACE_EVENT(nlbus_replay,
	TP_PROTO(const struct nlbus_bus *bus, const struct nlbus_topic *topic,
		 u32 portid, u64 from, u32 count),
	TP_ARGS(bus, topic, portid, from, count),
	TP_STRUCT__entry(
		__field(u32, netns)
		__field(u32, topic_id)
		__field(u32, portid)
		__field(u64, from)
		__field(u32, count)
		__dynamic_array(char, topic, topic->name_len + 1)
	),
	TP_fast_assign(
		__entry->netns = bus->net->ns.inum;
		__entry->topic_id = topic->id;
		__entry->portid = portid;
		__entry->from = from;
		__entry->count = count;
		memcpy(__get_dynamic_array(topic), topic->name,
		       topic->name_len);
		((char *)__get_dynamic_array(topic))[topic->name_len] = 0;
	),
	TP_printk("netns=%u topic=%s id=%u portid=%u from=%llu count=%u",
		  __entry->netns, (char *)__get_dynamic_array(topic),
		  __entry->topic_id, __entry->portid, __entry->from,
		  __entry->count)
);

#endif /* _NLBUS_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A record is one event in memory, as it goes out. It is made in the
 * publisher's task and moves by pointer: queue, history, broadcast. Once it is
 * in history it is shared with replays and no longer written to.
 */
#ifndef _NLBUS_RECORD_H
#define _NLBUS_RECORD_H

#include <linux/list.h>
#include <linux/netlink.h>
#include <linux/refcount.h>
#include <linux/types.h>
#include <uapi/linux/nlbus.h>

struct nlbus_topic;
struct sk_buff;

/**
 * struct nlbus_record - one event
 * @link: in a datagram's list, the queue, then its group's pack
 * @topic: where it goes; NULL until the topic is created
 * @ack: the answer that the publisher asked for, without the number; or NULL
 * @size: bytes of memory, which count for queue and history
 * @refs: one for queue and pack, one for history, one for each replay
 * @msg: from here on as it goes out
 * @hdr: event header, of which the bus's owner fills the rest
 * @data: topic, padded to 8, and payload, padded to 4; all padding zero
 */
struct nlbus_record {
	struct list_head link;
	struct nlbus_topic *topic;
	struct sk_buff *ack;
	u32 size;
	refcount_t refs;
	struct nlmsghdr msg;
	struct nlbus_event_hdr hdr;
	u8 data[];
};

/* Bytes of a message with this topic and payload, up to nlmsg_len. */
static inline u32 nlbus_event_len(u32 topic_len, u32 payload_len)
{
	return NLMSG_HDRLEN + sizeof(struct nlbus_event_hdr) +
	       ALIGN(topic_len, NLBUS_TOPIC_ALIGNTO) + payload_len;
}

/* Bytes in a datagram. */
static inline u32 nlbus_record_len(const struct nlbus_record *record)
{
	return NLMSG_ALIGN(record->msg.nlmsg_len);
}

static inline struct nlbus_record *
nlbus_record_get(struct nlbus_record *record)
{
	refcount_inc(&record->refs);
	return record;
}

struct nlbus_record *nlbus_record_alloc(const void *name, u16 name_len,
					const void *payload, u32 payload_len,
					gfp_t gfp);
void nlbus_record_put(struct nlbus_record *record);
void nlbus_record_put_list(struct list_head *records);
void nlbus_record_drop(struct nlbus_record *record, struct list_head *dead);
void nlbus_record_free_list(struct list_head *dead);

#endif /* _NLBUS_RECORD_H */

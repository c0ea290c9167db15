/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A run is events of one topic that follow each other, in one piece of memory,
 * as they go out. It is made in the publisher's task and moves by pointer:
 * queue, history, broadcast. What costs the same for one event as for fifty is
 * done once a run. In history it is shared with replays; from then on nothing in
 * it is written to, but for events added behind (nlbus_history_extend()).
 */
#ifndef _NLBUS_RUN_H
#define _NLBUS_RUN_H

#include <linux/list.h>
#include <linux/netlink.h>
#include <linux/refcount.h>
#include <linux/types.h>
#include <uapi/linux/nlbus.h>

struct nlbus_account;
struct nlbus_topic;
struct sk_buff;

/**
 * struct nlbus_run - events of one topic
 * @link: in a datagram's list, the queue, then its group's pack
 * @topic: where they go, with a reference until they are broadcast; NULL before the
 *         topic is created, which the events name, and afterwards
 * @ack: the answer that the publisher asked for with the last one; or NULL
 * @account: who has used up room in the queue for it, with a reference; NULL if that
 *           was a privileged one, or it isn't in the queue
 * @size: bytes of memory, which count for queue and history
 * @len: bytes of the messages
 * @count: how many; 0 for a publish that uses up numbers instead, and is neither
 *         kept nor broadcast: nlbus_lost_number()
 * @refs: one for queue and pack, one for history, one for each replay
 * @data: the messages as they go out, of which the bus's owner fills the rest;
 *        all padding is zero
 */
struct nlbus_run {
	struct list_head link;
	struct nlbus_topic *topic;
	struct sk_buff *ack;
	struct nlbus_account *account;
	u32 size;
	u32 len;
	u32 count;
	refcount_t refs;
	u8 data[];
};

/* Bytes of messages in a run of more than one event: with the above a page, so
 * that what history keeps, lets go and sends again stays small.
 */
#define NLBUS_RUN_LEN	(4096 - offsetof(struct nlbus_run, data))

/**
 * struct nlbus_sender - who publishes
 * @portid: port id
 * @pid: tgid in the initial namespace
 * @uid: user id, as seen in the bus's user namespace
 */
struct nlbus_sender {
	u32 portid;
	u32 pid;
	u32 uid;
};

/* Bytes of a message with this topic and payload, up to nlmsg_len. */
static inline u32 nlbus_event_len(u32 topic_len, u32 payload_len)
{
	return NLMSG_HDRLEN + sizeof(struct nlbus_event_hdr) +
	       ALIGN(topic_len, NLBUS_TOPIC_ALIGNTO) + payload_len;
}

static inline struct nlbus_event_hdr *nlbus_event_hdr(struct nlmsghdr *event)
{
	return (void *)event + NLMSG_HDRLEN;
}

static inline struct nlmsghdr *nlbus_event_next(struct nlmsghdr *event)
{
	return (void *)event + NLMSG_ALIGN(event->nlmsg_len);
}

/* The event behind another one in @len bytes of messages, the first one for NULL;
 * NULL at the end.
 */
static inline struct nlmsghdr *nlbus_event_in(void *data, u32 len,
					      struct nlmsghdr *event)
{
	void *next = event ? nlbus_event_next(event) : data;

	return next < data + len ? next : NULL;
}

/* The last event in @len bytes of messages, which are one at least. */
static inline struct nlmsghdr *nlbus_event_last(void *data, u32 len)
{
	struct nlmsghdr *event = data, *next;

	while ((next = nlbus_event_in(data, len, event)))
		event = next;
	return event;
}

static inline struct nlmsghdr *nlbus_run_event(struct nlbus_run *run)
{
	return (struct nlmsghdr *)run->data;
}

/* Bytes of messages that it has memory for. */
static inline u32 nlbus_run_room(const struct nlbus_run *run)
{
	return run->size - offsetof(struct nlbus_run, data);
}

/* Gives an event its number and time. */
static inline void nlbus_event_number(struct nlmsghdr *event, u64 epoch,
				      u32 topic_id, u64 seq, u64 now)
{
	struct nlbus_event_hdr *hdr = nlbus_event_hdr(event);

	event->nlmsg_seq = lower_32_bits(epoch);
	hdr->seq = seq;
	hdr->time_ns = now;
	hdr->topic_id = topic_id;
}

static inline struct nlbus_run *nlbus_run_get(struct nlbus_run *run)
{
	refcount_inc(&run->refs);
	return run;
}

size_t nlbus_run_size(u32 len);
struct nlbus_run *nlbus_run_alloc(u32 len, u32 room, gfp_t gfp);
struct nlbus_run *nlbus_run_event_new(const u8 *name, u8 name_len,
				      u32 payload_len, gfp_t gfp,
				      void **payload);
struct nlbus_run *nlbus_run_kernel(struct nlbus_topic *topic, u32 payload_len,
				   void **payload);
void nlbus_run_cut(struct nlbus_run *run, u32 bytes);
void nlbus_event_begin(struct nlmsghdr *event,
		       const struct nlbus_sender *from);
void nlbus_run_put(struct nlbus_run *run);
void nlbus_run_put_list(struct list_head *runs);
void nlbus_run_drop(struct nlbus_run *run, struct list_head *dead);
void nlbus_run_free_list(struct list_head *dead);

#endif /* _NLBUS_RUN_H */

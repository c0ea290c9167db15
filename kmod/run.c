// SPDX-License-Identifier: GPL-2.0
/*
 * Runs: events in memory, laid out as they go out.
 */
#include <linux/mm.h>
#include <linux/sched.h>
#include <linux/skbuff.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "account.h"
#include "run.h"
#include "topic.h"

/**
 * nlbus_run_size() - memory that a run takes
 * @len: bytes of its messages
 *
 * Return: bytes, with what the allocator rounds up.
 */
size_t nlbus_run_size(u32 len)
{
	return kmalloc_size_roundup(offsetof(struct nlbus_run, data) + len);
}

/**
 * nlbus_run_alloc() - make a run, whose messages are the caller's to fill in
 * @len: bytes of its messages
 * @room: bytes of messages to have memory for at least, not less
 * @gfp: how to allocate; large ones may be vmalloc'ed if it may sleep
 *
 * Return: a run of one event and one reference, or NULL.
 */
struct nlbus_run *nlbus_run_alloc(u32 len, u32 room, gfp_t gfp)
{
	size_t size = nlbus_run_size(room);
	struct nlbus_run *run;

	BUILD_BUG_ON(offsetof(struct nlbus_run, data) % NLMSG_ALIGNTO);

	run = kvmalloc(size, gfp);
	if (!run)
		return NULL;
	INIT_LIST_HEAD(&run->link);
	run->topic = NULL;
	run->ack = NULL;
	run->account = NULL;
	run->size = size;
	run->len = len;
	run->count = 1;
	refcount_set(&run->refs, 1);
	return run;
}

/**
 * nlbus_run_event_new() - make a run of one event that no datagram brought
 * @name: its topic's name
 * @name_len: bytes of it
 * @payload_len: bytes of the payload
 * @gfp: how to allocate
 * @payload: where it is to be written; zeros so far
 *
 * Return: the run with one reference, without a topic, and with all of the header
 * that is neither the bus's owner's nor zero but for who sends it; or NULL.
 */
struct nlbus_run *nlbus_run_event_new(const u8 *name, u8 name_len,
				      u32 payload_len, gfp_t gfp, void **payload)
{
	u32 len = nlbus_event_len(name_len, payload_len);
	struct nlbus_event_hdr *hdr;
	struct nlmsghdr *event;
	struct nlbus_run *run;

	run = nlbus_run_alloc(NLMSG_ALIGN(len), NLMSG_ALIGN(len), gfp);
	if (!run)
		return NULL;

	event = nlbus_run_event(run);
	memset(event, 0, NLMSG_ALIGN(len));
	event->nlmsg_len = len;
	event->nlmsg_type = NLBUS_MSG_EVENT;
	event->nlmsg_flags = NLM_F_MULTI;
	hdr = nlbus_event_hdr(event);
	hdr->topic_len = name_len;
	memcpy(hdr + 1, name, name_len);
	*payload = (void *)event + len - payload_len;
	return run;
}

/**
 * nlbus_run_kernel() - make a run of one event of the broker's own
 * @topic: the topic
 * @payload_len: bytes of the payload, which is a value
 * @payload: where it is to be written; zeros so far
 *
 * May sleep.
 *
 * Return: the run with one reference, or NULL.
 */
struct nlbus_run *nlbus_run_kernel(struct nlbus_topic *topic, u32 payload_len,
				   void **payload)
{
	struct nlbus_event_hdr *hdr;
	struct nlbus_run *run;

	run = nlbus_run_event_new(topic->name, topic->name_len, payload_len,
				  GFP_KERNEL | __GFP_NOWARN, payload);
	if (!run)
		return NULL;
	nlbus_topic_get(topic);
	run->topic = topic;
	hdr = nlbus_event_hdr(nlbus_run_event(run));
	hdr->flags = NLBUS_EVENT_F_KERNEL;
	hdr->content = NLBUS_CONTENT_BINCODE;
	return run;
}

/**
 * nlbus_run_cut() - take off the end of the payload of a run of one event
 * @run: the run, made by nlbus_run_event_new()
 * @bytes: how much, which is zeros
 */
void nlbus_run_cut(struct nlbus_run *run, u32 bytes)
{
	struct nlmsghdr *event = nlbus_run_event(run);

	event->nlmsg_len -= bytes;
	run->len = NLMSG_ALIGN(event->nlmsg_len);
}

/**
 * nlbus_event_begin() - make an event of a publish, which has the same layout
 * @event: the publish, checked, with memory up to NLMSG_ALIGN() of its length
 * @from: who sent it
 *
 * The bus's owner fills in the rest: nlbus_event_number().
 */
void nlbus_event_begin(struct nlmsghdr *event, const struct nlbus_sender *from)
{
	struct nlbus_event_hdr *hdr = nlbus_event_hdr(event);
	u8 *name = (u8 *)(hdr + 1), *end = (u8 *)event + event->nlmsg_len;
	u32 at;

	event->nlmsg_type = NLBUS_MSG_EVENT;
	event->nlmsg_flags = NLM_F_MULTI;
	event->nlmsg_pid = 0;
	hdr->portid = from->portid;
	hdr->pid = from->pid;
	hdr->uid = from->uid;
	hdr->flags = 0;

	/* Whatever is padding goes out to other processes, too. */
	for (at = hdr->topic_len; at % NLBUS_TOPIC_ALIGNTO; at++)
		name[at] = 0;
	for (at = event->nlmsg_len; at % NLMSG_ALIGNTO; at++)
		*end++ = 0;
}

static void nlbus_run_free(struct nlbus_run *run)
{
	kfree_skb(run->ack);
	nlbus_account_put(run->account);
	nlbus_topic_put(run->topic);
	kvfree(run);
}

/**
 * nlbus_run_put() - let go of a run
 * @run: the run; may sleep, as large ones are vmalloc'ed
 */
void nlbus_run_put(struct nlbus_run *run)
{
	if (refcount_dec_and_test(&run->refs))
		nlbus_run_free(run);
}

/**
 * nlbus_run_drop() - let go of a run, without sleeping
 * @run: the run
 * @dead: where to put it if nobody else has it, for nlbus_run_free_list()
 */
void nlbus_run_drop(struct nlbus_run *run, struct list_head *dead)
{
	if (refcount_dec_and_test(&run->refs))
		list_add_tail(&run->link, dead);
}

/**
 * nlbus_run_free_list() - free what nlbus_run_drop() put aside
 * @dead: the list; empty afterwards. May sleep.
 */
void nlbus_run_free_list(struct list_head *dead)
{
	struct nlbus_run *run, *next;

	list_for_each_entry_safe(run, next, dead, link)
		nlbus_run_free(run);
	INIT_LIST_HEAD(dead);
}

/**
 * nlbus_run_put_list() - let go of all runs of a list
 * @runs: linked by &nlbus_run.link; empty afterwards
 */
void nlbus_run_put_list(struct list_head *runs)
{
	struct nlbus_run *run, *next;

	list_for_each_entry_safe(run, next, runs, link) {
		nlbus_run_put(run);
		cond_resched();
	}
	INIT_LIST_HEAD(runs);
}

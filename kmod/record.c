// SPDX-License-Identifier: GPL-2.0
/*
 * Records: an event in memory, laid out as it goes out.
 */
#include <linux/mm.h>
#include <linux/sched.h>
#include <linux/skbuff.h>
#include <linux/slab.h>

#include "record.h"

/**
 * nlbus_record_alloc() - make a record
 * @name: the topic's name
 * @name_len: its bytes, at most NLBUS_TOPIC_MAX
 * @payload: the payload
 * @payload_len: its bytes, at most NLBUS_PAYLOAD_MAX
 * @gfp: how to allocate; must be able to sleep, large ones may be vmalloc'ed
 *
 * The event's header is zero but for the topic's length: the caller fills in
 * who sends it, the bus's owner when and as which one.
 *
 * Return: the record with one reference, or NULL.
 */
struct nlbus_record *nlbus_record_alloc(const void *name, u16 name_len,
					const void *payload, u32 payload_len,
					gfp_t gfp)
{
	u32 len = nlbus_event_len(name_len, payload_len);
	u32 padded = ALIGN(name_len, NLBUS_TOPIC_ALIGNTO);
	struct nlbus_record *record;
	size_t size;

	BUILD_BUG_ON(offsetof(struct nlbus_record, hdr) !=
		     offsetof(struct nlbus_record, msg) + NLMSG_HDRLEN);
	BUILD_BUG_ON(offsetof(struct nlbus_record, data) !=
		     offsetof(struct nlbus_record, hdr) +
		     sizeof(struct nlbus_event_hdr));

	size = kmalloc_size_roundup(offsetof(struct nlbus_record, msg) +
				    NLMSG_ALIGN(len));
	record = kvmalloc(size, gfp);
	if (!record)
		return NULL;
	record->size = size;

	INIT_LIST_HEAD(&record->link);
	record->topic = NULL;
	record->ack = NULL;
	refcount_set(&record->refs, 1);

	record->msg = (struct nlmsghdr) {
		.nlmsg_len = len,
		.nlmsg_type = NLBUS_MSG_EVENT,
		.nlmsg_flags = NLM_F_MULTI,
	};
	memset(&record->hdr, 0, sizeof(record->hdr));
	record->hdr.topic_len = name_len;

	/* Whatever is padding goes out to user space too. */
	memcpy(record->data, name, name_len);
	memset(record->data + name_len, 0, padded - name_len);
	memcpy(record->data + padded, payload, payload_len);
	memset(record->data + padded + payload_len, 0, NLMSG_ALIGN(len) - len);
	return record;
}

static void nlbus_record_free(struct nlbus_record *record)
{
	kfree_skb(record->ack);
	kvfree(record);
}

/**
 * nlbus_record_put() - let go of a record
 * @record: the record; may sleep, as large ones are vmalloc'ed
 */
void nlbus_record_put(struct nlbus_record *record)
{
	if (refcount_dec_and_test(&record->refs))
		nlbus_record_free(record);
}

/**
 * nlbus_record_drop() - let go of a record, without sleeping
 * @record: the record
 * @dead: where to put it if nobody else has it, for nlbus_record_free_list()
 */
void nlbus_record_drop(struct nlbus_record *record, struct list_head *dead)
{
	if (refcount_dec_and_test(&record->refs))
		list_add_tail(&record->link, dead);
}

/**
 * nlbus_record_free_list() - free what nlbus_record_drop() put aside
 * @dead: the list; empty afterwards. May sleep.
 */
void nlbus_record_free_list(struct list_head *dead)
{
	struct nlbus_record *record, *next;

	list_for_each_entry_safe(record, next, dead, link)
		nlbus_record_free(record);
	INIT_LIST_HEAD(dead);
}

/**
 * nlbus_record_put_list() - let go of all records of a list
 * @records: linked by &nlbus_record.link; empty afterwards
 */
void nlbus_record_put_list(struct list_head *records)
{
	struct nlbus_record *record, *next;

	list_for_each_entry_safe(record, next, records, link) {
		nlbus_record_put(record);
		cond_resched();
	}
	INIT_LIST_HEAD(records);
}

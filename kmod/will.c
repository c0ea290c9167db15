// SPDX-License-Identifier: GPL-2.0
/*
 * Last wills. All that takes memory is done when a will is left, in its client's
 * task: when it is due nobody is there to be refused. Only a topic that was deleted
 * since then has to be created anew.
 *
 * It is the bus thread that publishes what is due, behind all that its clients
 * published before.
 */
#include <linux/err.h>
#include <linux/errno.h>
#include <linux/mutex.h>
#include <linux/netlink.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/timekeeping.h>
#include <net/net_namespace.h>

#include "access.h"
#include "account.h"
#include "bus.h"
#include "client.h"
#include "params.h"
#include "refusal.h"
#include "request.h"
#include "run.h"
#include "share.h"
#include "topic.h"
#include "will.h"

/* Counts a will that takes the place of another one, or of none; under the topics'
 * lock. The other one is still counted, and isn't held against its client.
 */
static int nlbus_will_count(struct nlbus_bus *bus, struct nlbus_share *share,
			    const struct nlbus_will *old,
			    struct nlbus_refusal *refusal)
{
	u32 limit = nlbus_params.wills;
	char who[NLBUS_ACCOUNT_NAME];

	if (share)
		limit -= NLBUS_SHARE_RESERVE(limit);
	if (atomic_read(&bus->wills) - !!old >= limit)
		return nlbus_refusal_set(refusal, -ENOSPC,
					 "the bus has its limit of %u wills, or what of it is left is for the privileged (module parameter wills)",
					 nlbus_params.wills);
	if (share && nlbus_account_add_will(share->account,
					    old && old->share == share)) {
		nlbus_account_name(share->account, who);
		return nlbus_refusal_set(refusal, -EDQUOT,
					 "%s left %u wills, on all buses, as many as one user may (module parameter user_wills)",
					 who, nlbus_params.user_wills);
	}
	atomic_inc(&bus->wills);
	return 0;
}

static void nlbus_will_uncount(struct nlbus_bus *bus, struct nlbus_share *share)
{
	atomic_dec(&bus->wills);
	if (share)
		nlbus_account_remove_will(share->account);
}

/**
 * nlbus_will_free() - let go of a will
 * @will: the will, counted, whose event is published or isn't to be; or NULL
 */
void nlbus_will_free(struct nlbus_will *will)
{
	if (!will)
		return;
	nlbus_will_uncount(will->bus, will->share);
	if (will->run)
		nlbus_run_put(will->run);
	nlbus_caller_put(&will->caller);
	nlbus_share_put(will->share);
	kfree(will);
}

/* Finds or prepares its topic, if who leaves or left it may publish there; under the
 * topics' lock.
 */
static struct nlbus_topic *nlbus_will_topic(struct nlbus_will *will,
					    const u8 *name, u8 name_len,
					    struct nlbus_refusal *refusal)
{
	struct nlbus_topic *topic;

	topic = nlbus_topic_prepare(will->bus, name, name_len, &will->access,
				    will->share, refusal);
	if (IS_ERR(topic) || nlbus_caller_may(&will->caller, topic, NLBUS_WRITE))
		return topic;
	nlbus_topic_put(topic);
	return ERR_PTR(nlbus_refusal_set(refusal, -EACCES,
					 "topic '%.*s': its mode doesn't let you publish, or not who opened your socket",
					 name_len, name));
}

/* Does the same and creates it. */
static struct nlbus_topic *nlbus_will_topic_get(struct nlbus_will *will,
						const u8 *name, u8 name_len,
						struct nlbus_refusal *refusal)
{
	struct nlbus_topic *topic;

	topic = nlbus_will_topic(will, name, name_len, refusal);
	if (IS_ERR(topic))
		nlbus_topics_abort(&will->bus->topics);
	else
		nlbus_topics_commit(will->bus);
	return topic;
}

/* Makes the event that is to be published. */
static struct nlbus_run *nlbus_will_run(struct nlbus_bus *bus, u32 portid,
					const struct nlbus_request *request)
{
	struct nlbus_event_hdr *hdr;
	struct nlbus_run *run;
	void *payload;

	run = nlbus_run_event_new(request->name, request->name_len,
				  request->payload_len, GFP_KERNEL_ACCOUNT,
				  &payload);
	if (!run)
		return NULL;
	memcpy(payload, request->payload, request->payload_len);
	hdr = nlbus_event_hdr(nlbus_run_event(run));
	hdr->flags = NLBUS_EVENT_F_WILL;
	hdr->content = request->content;
	hdr->portid = portid;
	hdr->pid = task_tgid_nr(current);
	hdr->uid = from_kuid_munged(bus->net->user_ns, current_uid());
	return run;
}

/* Makes a will that is counted and whose topic is there; under the topics' lock. */
static struct nlbus_will *nlbus_will_new(struct nlbus_bus *bus,
					 const struct sk_buff *skb,
					 const struct nlbus_request *request,
					 const struct nlbus_will *old,
					 struct nlbus_refusal *refusal)
{
	struct nlbus_share *share = nlbus_share_get(bus);
	struct nlbus_topic *topic;
	struct nlbus_will *will;
	int err;

	if (IS_ERR(share))
		return ERR_PTR(nlbus_share_refuse(refusal, PTR_ERR(share)));
	err = nlbus_will_count(bus, share, old, refusal);
	if (err) {
		nlbus_share_put(share);
		return ERR_PTR(err);
	}
	will = kzalloc(sizeof(*will), GFP_KERNEL_ACCOUNT);
	if (!will) {
		nlbus_will_uncount(bus, share);
		nlbus_share_put(share);
		goto no_memory;
	}
	will->bus = bus;
	will->share = share;
	nlbus_access_default(&will->access);
	nlbus_caller_keep(&will->caller, bus, skb);
	will->run = nlbus_will_run(bus, NETLINK_CB(skb).portid, request);
	if (!will->run) {
		nlbus_will_free(will);
		goto no_memory;
	}
	topic = nlbus_will_topic_get(will, request->name, request->name_len,
				     refusal);
	if (IS_ERR(topic)) {
		nlbus_will_free(will);
		return ERR_CAST(topic);
	}
	nlbus_topic_put(topic); /* else it couldn't end when it is deleted */
	return will;

no_memory:
	return ERR_PTR(nlbus_refusal_set(refusal, -ENOMEM,
					 "topic '%.*s': no memory for a will",
					 request->name_len, request->name));
}

/**
 * nlbus_will_set() - leave a will, or take it back
 * @bus: the bus
 * @skb: the datagram, in the task that sent it, whose client has been noted
 * @request: the request; without a name the will is taken back
 * @refusal: says why, if it is refused; then the will before it stays
 *
 * May sleep.
 *
 * Return: 0, or a negative errno of docs/PROTOCOL.md.
 */
int nlbus_will_set(struct nlbus_bus *bus, const struct sk_buff *skb,
		   const struct nlbus_request *request,
		   struct nlbus_refusal *refusal)
{
	struct nlbus_will *will = NULL, *old;

	if (mutex_lock_killable(&bus->topics.lock))
		return nlbus_refusal_set(refusal, -EINTR,
					 "the sender was killed");
	/* The client is in sendmsg(), so it doesn't go away meanwhile. */
	old = nlbus_client_will(&bus->clients, skb);
	if (request->name)
		will = nlbus_will_new(bus, skb, request, old, refusal);
	if (IS_ERR(will))
		old = NULL;
	else
		nlbus_client_set_will(&bus->clients, skb, will);
	mutex_unlock(&bus->topics.lock);
	nlbus_will_free(old);
	return PTR_ERR_OR_ZERO(will);
}

/* Publishes one that is due. Return: whether its client may still publish there, and
 * the topic is there or could be created.
 */
static bool nlbus_will_publish(struct nlbus_bus *bus, struct nlbus_will *will)
{
	struct nlbus_run *run = will->run;
	const struct nlbus_event_hdr *hdr = nlbus_event_hdr(nlbus_run_event(run));
	struct nlbus_topic *topic;

	mutex_lock(&bus->topics.lock);
	topic = nlbus_will_topic_get(will, (const u8 *)(hdr + 1),
				     hdr->topic_len, NULL);
	mutex_unlock(&bus->topics.lock);
	if (IS_ERR(topic))
		return false;
	run->topic = topic;
	will->run = NULL;
	nlbus_bus_sequence(bus, run, ktime_get_boottime_ns());
	return true;
}

/**
 * nlbus_wills_publish() - publish what is due
 * @bus: the bus, whose thread is the caller and owns it, and flushes the packs; one
 *       that is closed has had its last event
 * @due: the wills; empty afterwards
 */
void nlbus_wills_publish(struct nlbus_bus *bus, struct list_head *due)
{
	struct nlbus_will *will, *next;

	list_for_each_entry_safe(will, next, due, link) {
		if (!bus->sys.closed && !nlbus_will_publish(bus, will))
			atomic64_inc(&bus->counters.refused);
		nlbus_will_free(will);
		cond_resched();
	}
	INIT_LIST_HEAD(due);
}

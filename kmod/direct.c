// SPDX-License-Identifier: GPL-2.0
/*
 * Direct dispatch. A datagram that finds the bus idle is numbered and broadcast in
 * its publisher's task, which wakes its subscribers and nobody in between. All
 * else goes through the queue to the bus thread, which packs what waits.
 *
 * A publisher owns the bus for one datagram of at most a pack and isn't preempted
 * meanwhile, so the bus thread, which may sleep while it owns the bus, spins for
 * the few microseconds until it is its turn. Publishers never wait for ownership:
 * what finds the bus owned is queued, which wakes the bus thread. The order of
 * events is the order of ownership either way.
 *
 * An event that is alone in its datagram takes no memory where its topic's newest
 * run has some left: it is added to that, and its own datagram is broadcast.
 */
#include <linux/kconfig.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/preempt.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/skbuff.h>
#include <linux/timekeeping.h>
#include <net/netlink.h>

#include "access.h"
#include "bus.h"
#include "direct.h"
#include "params.h"
#include "reply.h"
#include "run.h"
#include "topic.h"
#include "trace.h"

/* What became of a datagram. */
enum nlbus_direct {
	NLBUS_DIRECT_NOT,	/* nothing: it is to be queued */
	NLBUS_DIRECT_SENT,	/* numbered and broadcast */
	NLBUS_DIRECT_PACKED,	/* numbered, and left to the bus thread */
};

/* Not where netlink's spinlocks sleep. */
static bool nlbus_direct_can(void)
{
	return !IS_ENABLED(CONFIG_PREEMPT_RT);
}

/* Nothing that waits is overtaken, and a closed bus has had its last event. */
static bool nlbus_direct_may(const struct nlbus_bus *bus)
{
	return nlbus_queue_idle(&bus->queue) &&
	       nlbus_packs_empty(&bus->packs) &&
	       bus->packs.broadcast_ns < NLBUS_PACK_SLOW_NS;
}

/* Whether histories have slots for all runs: what needs memory that isn't at hand
 * is the bus thread's, and so is what a lowered limit lets go.
 */
static bool nlbus_direct_claim(struct list_head *runs)
{
	struct nlbus_run *run;
	bool claimed = true;

	list_for_each_entry(run, runs, link)
		if (run->count)
			claimed &= nlbus_history_claim(&run->topic->history,
						       run);
	list_for_each_entry(run, runs, link)
		run->topic->history.claimed = 0;
	return claimed;
}

/* The owner's part: without preemption, so nothing in here sleeps. */
static enum nlbus_direct nlbus_direct_dispatch(struct nlbus_bus *bus,
					       struct list_head *runs,
					       struct list_head *sent,
					       struct list_head *dead)
{
	u64 now = ktime_get_boottime_ns();
	struct nlbus_run *run, *next;

	if (!nlbus_direct_may(bus) || !nlbus_direct_claim(runs))
		return NLBUS_DIRECT_NOT;
	/* All of them have room in a pack, so none is flushed in here. */
	list_for_each_entry_safe(run, next, runs, link) {
		nlbus_bus_number(bus, run, now, false);
		list_del(&run->link);
		nlbus_pack_add(bus, run);
	}
	list_splice_init(&bus->dead, dead);
	return nlbus_packs_flush_now(bus, sent) ? NLBUS_DIRECT_SENT :
						  NLBUS_DIRECT_PACKED;
}

/**
 * nlbus_direct() - dispatch a datagram's events at once, if the bus is idle
 * @bus: the bus
 * @runs: the events, at most a pack of them, whose topics are there; the
 *        references are taken over if they are dispatched
 *
 * May sleep.
 *
 * Return: whether they were dispatched; if not, they are to be queued.
 */
bool nlbus_direct(struct nlbus_bus *bus, struct list_head *runs)
{
	enum nlbus_direct done = NLBUS_DIRECT_NOT;
	LIST_HEAD(sent);
	LIST_HEAD(dead);

	if (!nlbus_direct_can())
		return false;

	preempt_disable();
	if (nlbus_bus_try_own(bus)) {
		done = nlbus_direct_dispatch(bus, runs, &sent, &dead);
		nlbus_bus_disown(bus);
	}
	preempt_enable();

	if (done == NLBUS_DIRECT_NOT)
		return false;
	if (done == NLBUS_DIRECT_PACKED || nlbus_history_news(bus))
		wake_up_process(bus->queue.reader);
	nlbus_run_sent_list(bus->sk, &sent);
	nlbus_run_free_list(&dead);
	return true;
}

/* Whether a publisher's datagram may be made the broadcast of its event. Nobody
 * else has it, so nobody sees it change; a large one's head is vmalloc'ed, and only
 * netlink_skb_destructor() frees that.
 */
static bool nlbus_direct_takes(const struct sk_buff *skb, u32 len)
{
	return !is_vmalloc_addr(skb->head) && !skb_shared(skb) &&
	       !skb_cloned(skb) && !skb_is_nonlinear(skb) &&
	       len - skb->len <= skb_tailroom(skb);
}

/* Broadcasts a publisher's datagram, whose event is numbered. netlink holds the
 * other reference until the input callback has returned, and does nothing with it
 * but drop it.
 */
static void nlbus_direct_broadcast(struct nlbus_bus *bus,
				   struct nlbus_topic *topic,
				   struct sk_buff *skb)
{
	u32 group = READ_ONCE(topic->group);

	if (!nlbus_pack_wanted(bus, group))
		return;
	/* Of the bus's socket it is no more, nor from its sender. */
	skb_orphan(skb);
	memset(&NETLINK_CB(skb), 0, sizeof(NETLINK_CB(skb)));
	nlbus_pack_count(topic, 1, nlbus_pack_broadcast(bus, group, skb));
}

/* Numbers and broadcasts a publisher's datagram, if the bus is idle and the topic
 * hasn't ended. Return: its number, 0 if nothing was done.
 */
static u64 nlbus_direct_own(struct nlbus_bus *bus, struct nlbus_topic *topic,
			    struct sk_buff *skb,
			    const struct nlbus_sender *from)
{
	struct nlbus_history *history = &topic->history;
	struct nlmsghdr *event = nlmsg_hdr(skb);
	u32 len = NLMSG_ALIGN(event->nlmsg_len);
	u64 seq = 0;

	preempt_disable();
	if (nlbus_bus_try_own(bus)) {
		/* There is no room in what has ended: nlbus_history_end(). */
		if (nlbus_direct_may(bus) && nlbus_history_fits(history, len)) {
			skb_put(skb, len - skb->len);
			nlbus_event_begin(event, from);
			seq = history->head + 1;
			nlbus_event_number(event, bus->epoch, topic->id, seq,
					   ktime_get_boottime_ns());
			trace_nlbus_publish(bus, event);
			nlbus_history_extend(bus, history, event, len, 1);
			atomic64_inc(&bus->counters.published);
			event->nlmsg_flags = 0;
			nlbus_direct_broadcast(bus, topic, skb);
		}
		nlbus_bus_disown(bus);
	}
	preempt_enable();
	return seq;
}

/**
 * nlbus_direct_lone() - dispatch an event at once and where it lies, if it can be
 * @bus: the bus
 * @skb: a datagram of one publish, checked; if it is dispatched, it is a
 *       publish no more. One that uses up numbers is no event, and isn't.
 * @from: who sent it
 *
 * Its topic is one that its sender may write to; if it isn't, nothing is said.
 *
 * May sleep.
 *
 * Return: whether it was dispatched; if not, nothing was done.
 */
bool nlbus_direct_lone(struct nlbus_bus *bus, struct sk_buff *skb,
		       const struct nlbus_sender *from)
{
	struct nlmsghdr *event = nlmsg_hdr(skb);
	const struct nlbus_event_hdr *hdr = nlbus_event_hdr(event);
	u32 len = NLMSG_ALIGN(event->nlmsg_len);
	struct nlbus_topic *topic;
	struct sk_buff *ack = NULL;
	u64 seq = 0;

	if (!nlbus_direct_can() || len > NLBUS_RUN_LEN ||
	    (hdr->flags & NLBUS_EVENT_F_LOST) || !nlbus_direct_takes(skb, len))
		return false;
	if (event->nlmsg_flags & NLM_F_ACK) {
		ack = nlbus_ack_new(event, true, GFP_KERNEL_ACCOUNT);
		if (!ack)
			return false;
	}

	/* From the look-up to the broadcast, instead of a reference. */
	rcu_read_lock();
	topic = nlbus_topic_recent(&bus->topics, (const u8 *)(hdr + 1),
				   hdr->topic_len);
	if (topic && nlbus_history_fits(&topic->history, len) &&
	    (nlbus_access_all(&topic->access, NLBUS_WRITE) ||
	     nlbus_sender_may(bus, skb, topic, NLBUS_WRITE)))
		seq = nlbus_direct_own(bus, topic, skb, from);
	rcu_read_unlock();

	if (ack && seq) {
		nlbus_ack_number(ack, seq);
		nlbus_reply_send(bus->sk, ack, from->portid);
	} else {
		kfree_skb(ack);
	}
	return seq;
}

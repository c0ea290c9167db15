// SPDX-License-Identifier: GPL-2.0
/*
 * What kernel code publishes, in any context but NMI. So nothing here sleeps, and no
 * lock is taken but that of the queue's room, with interrupts off: topics are found
 * under RCU, and what takes more is left to the bus thread, which creates them, or
 * to a work item, which starts the bus.
 *
 * What there is no room or no memory for is dropped. It uses up a sequence number of
 * its topic all the same, so subscribers see it as loss, and it is counted.
 */
#include <linux/err.h>
#include <linux/export.h>
#include <linux/mutex.h>
#include <linux/nlbus.h>
#include <linux/rcupdate.h>
#include <linux/string.h>
#include <net/net_namespace.h>

#include "access.h"
#include "bus.h"
#include "kernel.h"
#include "lost.h"
#include "moves.h"
#include "name.h"
#include "params.h"
#include "run.h"
#include "topic.h"
#include "trace.h"

static void nlbus_kernel_start(struct work_struct *work)
{
	struct nlbus_bus *bus = container_of(work, struct nlbus_bus,
					     kernel.start);

	/* Without memory the next event tries again. */
	nlbus_bus_start(bus);
}

/**
 * nlbus_kernel_init() - have nothing to do
 * @kernel: what there is to do
 */
void nlbus_kernel_init(struct nlbus_kernel *kernel)
{
	init_llist_head(&kernel->droppers);
	INIT_WORK(&kernel->start, nlbus_kernel_start);
}

/**
 * nlbus_kernel_stop() - start the bus no more
 * @kernel: of a bus to which nobody publishes any more
 */
void nlbus_kernel_stop(struct nlbus_kernel *kernel)
{
	cancel_work_sync(&kernel->start);
}

/**
 * nlbus_kernel_create() - find or create the topic of an event of kernel code's
 * @bus: the bus, whose thread is the caller; may sleep
 * @run: the event, whose topic wasn't there when it was published
 *
 * It is root's, and all may read it whom the parameter topic_mode lets read.
 *
 * Return: whether it has a topic now; if not, it is counted as dropped.
 */
bool nlbus_kernel_create(struct nlbus_bus *bus, struct nlbus_run *run)
{
	const struct nlbus_event_hdr *hdr;
	const struct nlbus_access access = {
		.mode = nlbus_params.topic_mode & (NLBUS_READ | 0200),
		.uid = GLOBAL_ROOT_UID,
		.gid = GLOBAL_ROOT_GID,
	};
	struct nlbus_topic *topic;

	hdr = nlbus_event_hdr(nlbus_run_event(run));
	mutex_lock(&bus->topics.lock);
	topic = nlbus_topic_prepare(bus, (const u8 *)(hdr + 1), hdr->topic_len,
				    &access, NULL, NULL);
	if (IS_ERR(topic))
		nlbus_topics_abort(&bus->topics);
	else
		nlbus_topics_commit(bus);
	mutex_unlock(&bus->topics.lock);

	if (IS_ERR(topic)) {
		atomic64_inc(&bus->counters.kernel_dropped);
		trace_nlbus_drop(bus, (const u8 *)(hdr + 1), hdr->topic_len, 1,
				 PTR_ERR(topic));
		return false;
	}
	run->topic = topic;
	return true;
}

/**
 * nlbus_kernel_skip() - use up the numbers of what was dropped
 * @bus: the bus, whose thread is the caller and owns it, or that has none any more
 *
 * Who subscribes is told to look at the topic, as nothing else may follow.
 */
void nlbus_kernel_skip(struct nlbus_bus *bus)
{
	struct llist_node *droppers = llist_del_all(&bus->kernel.droppers);
	struct nlbus_topic *topic, *next;

	llist_for_each_entry_safe(topic, next, droppers, dropper) {
		/* From here on it may be in the list again: so first that. */
		atomic_set_release(&topic->drops, 0); /* see nlbus_kernel_drop() */
		nlbus_lost_use(bus, &topic->history,
			       atomic_long_xchg(&topic->unnumbered, 0));
		if (!READ_ONCE(topic->dead))
			nlbus_moves_changed(topic);
		nlbus_topic_put(topic);
	}
}

/* An event of a topic that may be there is dropped; in an RCU read section. */
static void nlbus_kernel_drop(struct nlbus_bus *bus, struct nlbus_topic *topic)
{
	atomic64_inc(&bus->counters.kernel_dropped);
	if (!topic)
		return;
	atomic_long_inc(&topic->unnumbered);
	/* Counted first: who takes it from the list then sees that. */
	if (atomic_xchg(&topic->drops, 1))
		return;
	/* One that is being ended has nobody to be told. */
	if (!nlbus_topic_hold(topic))
		return;
	llist_add(&topic->dropper, &bus->kernel.droppers);
	nlbus_queue_wake(&bus->queue);
}

/* Makes a run of what is to be published, and gets room for it. */
static struct nlbus_run *nlbus_kernel_run(struct nlbus_bus *bus,
					  const char *name, u8 name_len,
					  const void *data, size_t len,
					  u16 content)
{
	struct nlbus_event_hdr *hdr;
	struct nlbus_run *run;
	void *payload;
	int err;

	run = nlbus_run_event_new((const u8 *)name, name_len, len,
				  GFP_ATOMIC | __GFP_NOWARN, &payload);
	if (!run)
		return ERR_PTR(-ENOMEM);
	err = nlbus_queue_reserve_now(&bus->queue, run->size);
	if (err) {
		nlbus_run_put(run);
		return ERR_PTR(err);
	}
	hdr = nlbus_event_hdr(nlbus_run_event(run));
	hdr->flags = NLBUS_EVENT_F_KERNEL;
	hdr->content = content;
	memcpy(payload, data, len);
	return run;
}

/**
 * nlbus_publish() - publish an event to all processes that subscribe
 * @net: the network namespace whose bus it goes to, to which the caller holds a
 *       reference; &init_net for what concerns the whole host
 * @topic: the topic's name, 1 to NLBUS_TOPIC_MAX bytes of UTF-8, as a rule below
 *         kernel/, where no process can publish; created when it isn't there
 * @data: the payload; a packed structure of __le* fields is a value that the
 *        library decodes: then NLBUS_CONTENT_BINCODE
 * @len: bytes of it, at most NLBUS_PAYLOAD_MAX; above a page or two chances are
 *       that an interrupt handler gets no memory for it
 * @flags: enum nlbus_content
 *
 * Context: Any but NMI: process, softirq, hardirq, with spinlocks held, as for
 * kmalloc(GFP_ATOMIC) and wake_up_process(); so not under the scheduler's own
 * locks, nor, on PREEMPT_RT, with interrupts off. Never sleeps. Events of one context
 * keep their order. Their sender is the kernel: port, process and user id are 0.
 *
 * Return: 0 when it is queued; -EINVAL, -ENAMETOOLONG, -EILSEQ or -EACCES for a
 * name or flags that can't be; -EMSGSIZE; -ENODEV when the namespace is ending, or
 * has no bus, as there was no memory for it; -ESHUTDOWN when the module is retired.
 * With -ENOBUFS (no room in the queue, of which kernel code has a part of its own)
 * and -ENOMEM it is dropped: subscribers see that as loss, if the topic is there
 * yet, and INFO counts it.
 */
int nlbus_publish(struct net *net, const char *topic, const void *data,
		  size_t len, unsigned int flags)
{
	size_t name_len = strnlen(topic, NLBUS_TOPIC_MAX + 1);
	const u8 *name = (const u8 *)topic;
	struct nlbus_topic *found = NULL;
	struct nlbus_bus *bus;
	struct nlbus_run *run;
	bool started;
	int err;

	if (flags > NLBUS_CONTENT_MAX)
		return -EINVAL;
	err = nlbus_name_check_kernel(name, name_len);
	if (err)
		return err;
	if (len > NLBUS_PAYLOAD_MAX)
		return -EMSGSIZE;
	bus = nlbus_bus_get(net);
	if (!bus || !check_net(net))
		return -ENODEV;

	run = nlbus_kernel_run(bus, topic, name_len, data, len, flags);
	if (run == ERR_PTR(-ESHUTDOWN))
		return -ESHUTDOWN;

	rcu_read_lock();
	started = smp_load_acquire(&bus->thread); /* see nlbus_bus_start() */
	if (started)
		found = nlbus_topic_of_kernel(&bus->topics, name, name_len);
	if (IS_ERR(run)) {
		trace_nlbus_drop(bus, name, name_len, 1, PTR_ERR(run));
		nlbus_kernel_drop(bus, found);
	} else {
		run->topic = nlbus_topic_hold(found);
	}
	rcu_read_unlock();

	if (IS_ERR(run))
		return PTR_ERR(run);
	nlbus_queue_add_now(&bus->queue, run);
	if (!started)
		schedule_work(&bus->kernel.start);
	return 0;
}
EXPORT_SYMBOL_GPL(nlbus_publish);

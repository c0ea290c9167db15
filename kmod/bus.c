// SPDX-License-Identifier: GPL-2.0
/*
 * The bus: it appears and ends with its network namespace, and its thread
 * brings what was accepted in order, into history and to the groups.
 *
 * A namespace that nobody uses the bus of costs a socket: the thread and the
 * tables come with the first message or the first member of a group.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/err.h>
#include <linux/kthread.h>
#include <linux/netlink.h>
#include <linux/processor.h>
#include <linux/random.h>
#include <linux/rtnetlink.h>
#include <linux/sched.h>
#include <linux/timekeeping.h>
#include <net/net_namespace.h>
#include <net/netns/generic.h>

#include "account.h"
#include "bus.h"
#include "group.h"
#include "input.h"
#include "lost.h"
#include "params.h"
#include "reply.h"
#include "run.h"
#include "trace.h"
#include "will.h"

/* Bytes that the bus thread sequences before it broadcasts what is left in
 * packs: what an event waits at most for others that share the datagram.
 */
#define NLBUS_TURN	(128 * 1024)

static unsigned int nlbus_net_id __read_mostly;

/* True while each namespace has its bus. The first socket of the protocol may
 * be opened as soon as one namespace has, and net_generic() must not be asked
 * in one that hasn't.
 */
static bool nlbus_ready;

/* True once the module is retired, and for good. */
static bool nlbus_retired;

/**
 * nlbus_bus_get() - the bus of a namespace
 * @net: the namespace
 *
 * Return: the bus, or NULL while the module is loaded or removed, or if there
 * was no memory for it.
 */
struct nlbus_bus *nlbus_bus_get(struct net *net)
{
	struct nlbus_bus *bus;

	if (!smp_load_acquire(&nlbus_ready)) /* see nlbus_bus_register() */
		return NULL;
	bus = net_generic(net, nlbus_net_id);
	return bus->sk ? bus : NULL;
}

/**
 * nlbus_bus_retired() - whether the module is retired
 *
 * Return: true if so: then nothing new is served.
 */
bool nlbus_bus_retired(void)
{
	return READ_ONCE(nlbus_retired);
}

/**
 * nlbus_bus_retire() - end all buses, so that their clients let go
 *
 * What was accepted is still broadcast, then $SYS/closing. A bus that is being
 * started meanwhile finds the module retired by itself: its thread looks.
 */
void nlbus_bus_retire(void)
{
	struct nlbus_bus *bus;
	struct net *net;

	WRITE_ONCE(nlbus_retired, true);
	/* Namespaces that are going are off this list before their bus ends. */
	down_read(&net_rwsem);
	for_each_net(net) {
		bus = nlbus_bus_get(net);
		if (bus)
			nlbus_queue_close(&bus->queue);
		cond_resched();
	}
	up_read(&net_rwsem);
}

/**
 * nlbus_bus_number() - give events their place
 * @bus: the bus, whose owner is the caller: number, time, history and the order
 *       of broadcast are one thing because nobody else does any of them
 * @run: the events; the caller's reference stays the caller's
 * @now: CLOCK_BOOTTIME in ns; events that are numbered in one go may share it
 * @may_sleep: whether this may sleep; if not, nlbus_history_claim()
 */
void nlbus_bus_number(struct nlbus_bus *bus, struct nlbus_run *run, u64 now,
		      bool may_sleep)
{
	struct nlbus_topic *topic = run->topic;
	u64 seq = nlbus_history_last(&topic->history);
	struct nlmsghdr *event = NULL;

	if (!run->count) {
		nlbus_lost_number(bus, run);
		return;
	}
	while ((event = nlbus_event_in(run->data, run->len, event))) {
		nlbus_event_number(event, bus->epoch, topic->id, ++seq, now);
		trace_nlbus_publish(bus, event);
	}
	if (run->ack)
		nlbus_ack_number(run->ack, seq);
	/* A run made for more events than came with it is one of many where several
	 * publish at once: history would be full of memory that nothing is in.
	 */
	if (nlbus_history_fits(&topic->history, run->len))
		nlbus_history_extend(bus, &topic->history, run->data, run->len,
				     run->count);
	else
		nlbus_history_append(bus, &topic->history, run, may_sleep);
	atomic64_add(run->count, &bus->counters.published);
}

/**
 * nlbus_bus_sequence() - give events their place, and have them broadcast
 * @bus: the bus, whose thread is the caller and owns it
 * @run: the events, the reference to which is taken over. Broadcast follows with
 *       nlbus_packs_flush() at the latest.
 * @now: as nlbus_bus_number()
 */
void nlbus_bus_sequence(struct nlbus_bus *bus, struct nlbus_run *run, u64 now)
{
	nlbus_bus_number(bus, run, now, true);
	nlbus_pack_add(bus, run);
}

/* Gives back the room of events of one publisher, and a reference to him. */
static void nlbus_bus_settle(struct nlbus_bus *bus,
			     struct nlbus_account *account, size_t bytes)
{
	if (!bytes)
		return;
	nlbus_queue_release(&bus->queue, account, bytes);
	nlbus_account_put(account);
}

/* Sequences and broadcasts a part of what was taken from the queue; once that is all,
 * the wills that are due behind it.
 */
static void nlbus_bus_turn(struct nlbus_bus *bus, struct list_head *runs,
			   struct list_head *due)
{
	u64 now = ktime_get_boottime_ns();
	struct nlbus_account *account = NULL;
	size_t done = 0, bytes = 0;
	struct nlbus_run *run;

	while (done < NLBUS_TURN &&
	       (run = list_first_entry_or_null(runs, struct nlbus_run, link))) {
		list_del(&run->link);
		if (run->account != account) {
			nlbus_bus_settle(bus, account, bytes);
			account = run->account;
			bytes = 0;
		} else {
			nlbus_account_put(run->account);
		}
		run->account = NULL;
		bytes += run->size;
		done += run->size;
		if (run->topic || nlbus_kernel_create(bus, run))
			nlbus_bus_sequence(bus, run, now);
		else
			nlbus_run_put(run);
	}
	if (list_empty(runs)) {
		nlbus_kernel_skip(bus);
		nlbus_wills_publish(bus, due);
	}
	nlbus_packs_flush(bus);
	nlbus_run_free_list(&bus->dead);
	nlbus_bus_settle(bus, account, bytes);
}

/* Does what there is to do. Return: jiffies until there is more by itself. */
static long nlbus_bus_work(struct nlbus_bus *bus)
{
	LIST_HEAD(runs);
	LIST_HEAD(due);
	long timeout;

	/* A publisher has it for microseconds, and isn't preempted: direct.c. */
	while (!nlbus_bus_try_own(bus))
		cpu_relax();
	do {
		nlbus_moves_end(bus);
		nlbus_history_lower(bus);
		timeout = nlbus_sys_run(bus);
		/* First these: what they published is then in the queue. */
		nlbus_clients_bury(&bus->clients, &due);
		nlbus_queue_take(&bus->queue, &runs);
		nlbus_bus_turn(bus, &runs, &due);
		cond_resched();
	} while (!list_empty(&runs));
	nlbus_bus_disown(bus);
	return timeout;
}

static int nlbus_bus_thread(void *data)
{
	struct nlbus_bus *bus = data;
	long timeout;

	while (!kthread_should_stop()) {
		timeout = nlbus_bus_work(bus);

		/* State first, then a last look: see nlbus_queue_add(). */
		set_current_state(TASK_IDLE);
		if (nlbus_queue_empty(&bus->queue) &&
		    nlbus_packs_empty(&bus->packs) && !nlbus_sys_news(bus) &&
		    !nlbus_history_news(bus) &&
		    !nlbus_clients_any_gone(&bus->clients) &&
		    !nlbus_kernel_news(&bus->kernel) &&
		    !nlbus_moves_any_left(&bus->moves) &&
		    !kthread_should_stop())
			schedule_timeout(timeout);
		__set_current_state(TASK_RUNNING);
	}
	return 0;
}

static int nlbus_bus_start_locked(struct nlbus_bus *bus)
{
	struct task_struct *thread;
	int err;

	err = nlbus_topics_start(&bus->topics);
	if (err)
		return err;
	err = nlbus_packs_start(&bus->packs);
	if (err)
		goto free_topics;
	err = nlbus_sys_start(bus);
	if (err)
		goto free_packs;

	thread = kthread_create(nlbus_bus_thread, bus, "nlbus");
	if (IS_ERR(thread)) {
		err = PTR_ERR(thread);
		goto free_packs;
	}
	/* nlbus_queue_close() may look at it meanwhile. If it sees none, the
	 * thread sees the queue closed: it takes the queue's lock first.
	 */
	WRITE_ONCE(bus->queue.reader, thread);
	wake_up_process(thread);
	smp_store_release(&bus->thread, thread); /* see nlbus_bus_start() */
	return 0;

free_packs:
	nlbus_packs_free(&bus->packs);
free_topics:
	nlbus_topics_free(bus);
	return err;
}

/**
 * nlbus_bus_start() - make a bus ready, if it isn't
 * @bus: the bus
 *
 * Return: 0; -EINTR when a fatal signal struck; -ENOMEM.
 */
int nlbus_bus_start(struct nlbus_bus *bus)
{
	int err = 0;

	if (smp_load_acquire(&bus->thread)) /* all that it works with is there */
		return 0;
	if (mutex_lock_killable(&bus->start))
		return -EINTR;
	if (!bus->thread)
		err = nlbus_bus_start_locked(bus);
	mutex_unlock(&bus->start);
	return err;
}

/* Somebody wants to join a group: netlink counts them from 1 in here, both for
 * bind() and for NETLINK_ADD_MEMBERSHIP. He isn't a member yet, and may never
 * be, so nothing is counted. Nor is there a socket in here, whose opener could be
 * asked for, too.
 */
static int nlbus_bind(struct net *net, int group)
{
	struct nlbus_bus *bus = nlbus_bus_get(net);
	int err;

	if (!bus)
		return -ENODEV;
	if (nlbus_bus_retired())
		return -ESHUTDOWN;
	err = nlbus_bus_start(bus);
	if (err)
		return err;
	return nlbus_group_may_join(bus, group);
}

static int __net_init nlbus_net_init(struct net *net)
{
	struct netlink_kernel_cfg cfg = {
		.groups	= nlbus_params.groups,
		/* Anyone may join groups; only the broker sends to them. */
		.flags	= NL_CFG_F_NONROOT_RECV,
		.input	= nlbus_input,
		.bind	= nlbus_bind,
	};
	struct nlbus_bus *bus = net_generic(net, nlbus_net_id);

	bus->net = net;
	do {
		bus->epoch = get_random_u64();
	} while (!bus->epoch);
	bus->began_ns = ktime_get_boottime_ns();
	mutex_init(&bus->start);
	nlbus_queue_init(&bus->queue, nlbus_params.queue);
	nlbus_topics_init(&bus->topics);
	nlbus_moves_init(&bus->moves);
	nlbus_kernel_init(&bus->kernel);
	nlbus_clients_init(&bus->clients);
	INIT_LIST_HEAD(&bus->dead);
	nlbus_trim_init(&bus->trim);
	nlbus_trim_init(&bus->user_trim);
	nlbus_lowered_init(&bus->lowered);
	xa_init_flags(&bus->shares, XA_FLAGS_ACCOUNT);

	bus->sk = netlink_kernel_create(net, nlbus_params.protocol, &cfg);
	if (bus->sk)
		return 0;

	/* The first namespace decides whether the protocol number is free. A
	 * later one that there is no memory for goes without a bus, because
	 * failing here would fail unshare(CLONE_NEWNET), or the load of the
	 * module when sockets may already hold on to it.
	 */
	if (!net_eq(net, &init_net))
		return 0;
	pr_err("netlink protocol %u can't be had: it is in use (choose another one with protocol=), or there is no memory\n",
	       nlbus_params.protocol);
	return -EADDRINUSE;
}

/* Lets go of what was accepted and not sequenced. */
static void nlbus_bus_discard(struct nlbus_bus *bus)
{
	struct nlbus_run *run;
	LIST_HEAD(runs);

	nlbus_queue_take(&bus->queue, &runs);
	list_for_each_entry(run, &runs, link)
		nlbus_queue_release(&bus->queue, run->account, run->size);
	nlbus_run_put_list(&runs);
}

/* No process is in the namespace any more, so no socket and no publisher; and kernel
 * code publishes to namespaces that it holds a reference to.
 */
static void __net_exit nlbus_net_exit(struct net *net)
{
	struct nlbus_bus *bus = net_generic(net, nlbus_net_id);

	nlbus_queue_close(&bus->queue);
	nlbus_kernel_stop(&bus->kernel);
	if (bus->thread) {
		kthread_stop(bus->thread);
		bus->queue.reader = NULL; /* nobody to be woken */
	}
	nlbus_bus_discard(bus);
	nlbus_clients_free(&bus->clients);
	if (bus->thread) {
		nlbus_kernel_skip(bus);
		nlbus_packs_flush(bus);
		nlbus_packs_free(&bus->packs);
		nlbus_topics_free(bus);
	}
	netlink_kernel_release(bus->sk);
}

static struct pernet_operations nlbus_net_ops = {
	.init	= nlbus_net_init,
	.exit	= nlbus_net_exit,
	.id	= &nlbus_net_id,
	.size	= sizeof(struct nlbus_bus),
};

/**
 * nlbus_bus_register() - give each namespace a bus, now and in future
 *
 * Return: 0; -EADDRINUSE when the protocol number is taken; -ENOMEM.
 */
int nlbus_bus_register(void)
{
	int err = register_pernet_subsys(&nlbus_net_ops);

	if (!err)
		smp_store_release(&nlbus_ready, true); /* see nlbus_bus_get() */
	return err;
}

/**
 * nlbus_bus_unregister() - end all buses
 *
 * The module is only removed when no socket of the protocol is open: each
 * holds a reference to it.
 */
void nlbus_bus_unregister(void)
{
	WRITE_ONCE(nlbus_ready, false);
	unregister_pernet_subsys(&nlbus_net_ops);
}

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A bus: one for each network namespace.
 *
 * Lock order, outermost first; nothing else is ever held together:
 *
 *	nlbus_bus.start		mutex: one task makes a bus ready
 *	nlbus_topics.lock	mutex: who creates, changes or deletes topics takes turns
 *	nlbus_history.lock	spinlock, a topic's; process context only
 *	nlbus_moves.lock	spinlock; process context only, not in the one above
 *
 *	nlbus_room.lock		spinlock, irqs off; a queue's, a user's; alone
 *	nlbus_lowered.lock	spinlock; alone
 *	nlbus_bus.shares	spinlock of its own; alone
 *	nlbus_accounts_lock	spinlock, all buses'; alone
 *	nlbus_clients.by_port	spinlock of its own; alone
 *
 * Who owns the bus (nlbus_bus_try_own()) numbers events, appends to histories
 * and broadcasts, and nobody else does. What is marked as the owner's is guarded
 * by that. It is the bus thread, for as long as it has something to do, or a
 * publisher, for one datagram: see direct.c. The owner takes the other locks.
 *
 * Topics are found under RCU, and used with a reference. A publisher of a lone event
 * has none: he finds the topic and dispatches to it in one RCU read section, and a
 * topic's history ends by the bus's owner alone, who leaves no room in it.
 */
#ifndef _NLBUS_BUS_H
#define _NLBUS_BUS_H

#include <linux/atomic.h>
#include <linux/bitops.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/types.h>
#include <linux/xarray.h>

#include "client.h"
#include "kernel.h"
#include "moves.h"
#include "pack.h"
#include "queue.h"
#include "sys.h"
#include "topic.h"

struct net;
struct nlbus_run;
struct sock;
struct task_struct;

/**
 * struct nlbus_counters - of INFO, since the bus began
 * @published: events sequenced
 * @refused: datagrams and requests refused
 * @broadcasts: datagrams sent to groups
 * @overruns: of these, not taken by some socket that asks to have that counted
 *            (NETLINK_BROADCAST_ERROR)
 * @replayed: events sent out of history
 * @evicted: events that history let go
 * @kernel_dropped: events of kernel code that there was no room or no memory for
 * @lost: numbers that publishers used up for what was lost on its way to them
 */
struct nlbus_counters {
	atomic64_t published;
	atomic64_t refused;
	atomic64_t broadcasts;
	atomic64_t overruns;
	atomic64_t replayed;
	atomic64_t evicted;
	atomic64_t kernel_dropped;
	atomic64_t lost;
};

/**
 * struct nlbus_bus - the bus of a network namespace
 * @net: the namespace
 * @sk: the kernel's socket in it; NULL if there was no memory for it
 * @epoch: random, not 0
 * @began_ns: CLOCK_BOOTTIME when the bus was made
 * @start: held to start the bus at its first use
 * @thread: the bus thread; NULL until the bus is started
 * @queue: published, not yet sequenced
 * @topics: all topics
 * @moves: those that others may read than before, and that ended
 * @owned: bit 0 while somebody owns the bus
 * @packs: sequenced, not yet broadcast; the owner's
 * @dead: runs that nobody needs any more, to be freed when there is time; the
 *        owner's
 * @sys: the broker's own topics; the bus thread's own
 * @kernel: what kernel code publishes
 * @clients: who ever sent a datagram
 * @wills: how many last wills they left
 * @shares: what users have of it, by the ids of their accounts
 * @trim: histories that have something to give, by size, of topics that count for
 *        nobody; the owner's
 * @user_trim: likewise, of users' topics
 * @lowered: histories whose limit was set: they may keep too much
 * @history_bytes: memory of all histories; written by the owner
 * @user_bytes: of these, that of users' topics; the owner's
 * @change: rises with every event, every topic, and whenever numbers are lost
 * @counters: what INFO tells
 */
struct nlbus_bus {
	struct net *net;
	struct sock *sk;
	u64 epoch;
	u64 began_ns;

	struct mutex start; /* the first use */
	struct task_struct *thread;

	struct nlbus_queue queue;
	struct nlbus_topics topics;
	struct nlbus_moves moves;
	unsigned long owned;
	struct nlbus_packs packs;
	struct list_head dead;
	struct nlbus_sys sys;
	struct nlbus_kernel kernel;
	struct nlbus_clients clients;
	atomic_t wills;

	struct xarray shares;

	struct nlbus_trim trim;
	struct nlbus_trim user_trim;
	struct nlbus_lowered lowered;
	size_t history_bytes;
	size_t user_bytes;

	atomic64_t change;
	struct nlbus_counters counters;
};

int nlbus_bus_register(void);
void nlbus_bus_unregister(void);
struct nlbus_bus *nlbus_bus_get(struct net *net);
int nlbus_bus_start(struct nlbus_bus *bus);
void nlbus_bus_retire(void);
bool nlbus_bus_retired(void);
void nlbus_bus_number(struct nlbus_bus *bus, struct nlbus_run *run, u64 now,
		      bool may_sleep);
void nlbus_bus_sequence(struct nlbus_bus *bus, struct nlbus_run *run, u64 now);

/* A publisher that owns the bus must not be preempted until it has disowned it. */
static inline bool nlbus_bus_try_own(struct nlbus_bus *bus)
{
	return !test_and_set_bit_lock(0, &bus->owned);
}

static inline void nlbus_bus_disown(struct nlbus_bus *bus)
{
	clear_bit_unlock(0, &bus->owned);
}

#endif /* _NLBUS_BUS_H */

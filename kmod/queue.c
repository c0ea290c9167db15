// SPDX-License-Identifier: GPL-2.0
/*
 * The publish queue: room is reserved for a whole datagram first, then its
 * runs are added, so a datagram is accepted whole or not at all.
 */
#include <linux/completion.h>
#include <linux/errno.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>

#include "queue.h"

/* Publishers that are taken out at once, with interrupts off. */
#define NLBUS_QUEUE_TURN	32

/**
 * struct nlbus_waiter - a publisher that sleeps until there is room
 * @link: in &nlbus_queue.waiters
 * @bytes: how much it needs
 * @waits: it is there; else it was taken out, and @served is being completed
 * @served: completed when it has its room, or the queue was closed
 * @err: what to return then
 */
struct nlbus_waiter {
	struct list_head link;
	size_t bytes;
	bool waits;
	struct completion served;
	int err;
};

/**
 * nlbus_queue_init() - make an empty queue
 * @queue: the queue
 * @limit: bytes it may hold, at least NLBUS_QUEUE_MIN
 */
void nlbus_queue_init(struct nlbus_queue *queue, size_t limit)
{
	spin_lock_init(&queue->lock);
	INIT_LIST_HEAD(&queue->runs);
	INIT_LIST_HEAD(&queue->waiters);
	queue->used = 0;
	queue->limit = limit - NLBUS_QUEUE_RESERVE(limit);
	queue->reader = NULL;
	queue->closed = false;
}

static bool nlbus_queue_fits(const struct nlbus_queue *queue, size_t bytes)
{
	return queue->used + bytes <= queue->limit;
}

/* Takes out a few of those who wait and are to go on: waking them takes long, and
 * is left to nlbus_queue_wake(), without the lock. Return: whether there may be
 * more.
 */
static bool nlbus_queue_serve(struct nlbus_queue *queue,
			      struct list_head *served)
{
	unsigned int turn = NLBUS_QUEUE_TURN;
	struct nlbus_waiter *waiter;

	while ((waiter = list_first_entry_or_null(&queue->waiters,
						  struct nlbus_waiter, link))) {
		if (!queue->closed && !nlbus_queue_fits(queue, waiter->bytes))
			return false;
		if (!turn--)
			return true;
		if (queue->closed)
			waiter->err = -ESHUTDOWN;
		else
			queue->used += waiter->bytes;
		waiter->waits = false;
		list_move_tail(&waiter->link, served);
	}
	return false;
}

static void nlbus_queue_wake(struct list_head *served)
{
	struct nlbus_waiter *waiter, *next;

	/* A waiter is gone as soon as it is told. */
	list_for_each_entry_safe(waiter, next, served, link)
		complete(&waiter->served);
}

/* Lets all go on who may. */
static void nlbus_queue_serve_all(struct nlbus_queue *queue)
{
	bool more;

	do {
		LIST_HEAD(served);

		spin_lock_irq(&queue->lock);
		more = nlbus_queue_serve(queue, &served);
		spin_unlock_irq(&queue->lock);
		nlbus_queue_wake(&served);
	} while (more);
}

/**
 * nlbus_queue_reserve() - get room for a datagram's events
 * @queue: the queue
 * @bytes: how much
 * @wait: sleep until there is room, killably
 *
 * Nobody overtakes those who wait already, so that many small datagrams can't
 * keep a large one out.
 *
 * Return: 0; -EAGAIN for no room and no @wait; -EINTR when a fatal signal
 * struck; -ESHUTDOWN for a closed queue.
 */
int nlbus_queue_reserve(struct nlbus_queue *queue, size_t bytes, bool wait)
{
	struct nlbus_waiter waiter = { .bytes = bytes, .waits = true };
	bool waits;

	spin_lock_irq(&queue->lock);
	if (queue->closed) {
		spin_unlock_irq(&queue->lock);
		return -ESHUTDOWN;
	}
	if (list_empty(&queue->waiters) && nlbus_queue_fits(queue, bytes)) {
		queue->used += bytes;
		spin_unlock_irq(&queue->lock);
		return 0;
	}
	if (!wait) {
		spin_unlock_irq(&queue->lock);
		return -EAGAIN;
	}
	init_completion(&waiter.served);
	list_add_tail(&waiter.link, &queue->waiters);
	spin_unlock_irq(&queue->lock);

	if (!wait_for_completion_killable(&waiter.served))
		return waiter.err;

	/* Killed. Room that was given in the meantime goes back, and those behind
	 * may have been kept out by this one alone.
	 */
	spin_lock_irq(&queue->lock);
	waits = waiter.waits;
	if (waits)
		list_del(&waiter.link);
	spin_unlock_irq(&queue->lock);
	if (waits) {
		nlbus_queue_serve_all(queue);
		return -EINTR;
	}
	wait_for_completion(&waiter.served);
	if (!waiter.err)
		nlbus_queue_release(queue, bytes);
	return -EINTR;
}

/**
 * nlbus_queue_release() - give room back
 * @queue: the queue
 * @bytes: how much
 *
 * Sleepers are woken only once a quarter of the queue is free: a publisher
 * then gets many datagrams out before it sleeps again.
 */
void nlbus_queue_release(struct nlbus_queue *queue, size_t bytes)
{
	bool serve;

	spin_lock_irq(&queue->lock);
	queue->used -= bytes;
	serve = queue->used <= queue->limit / 4 * 3 &&
		!list_empty(&queue->waiters);
	/* Who gives up what it had room for may be the last to be waited for. */
	if (queue->closed)
		wake_up_process(queue->reader);
	spin_unlock_irq(&queue->lock);
	if (serve)
		nlbus_queue_serve_all(queue);
}

/**
 * nlbus_queue_add() - queue runs that room was reserved for
 * @queue: the queue
 * @runs: the runs; empty afterwards
 */
void nlbus_queue_add(struct nlbus_queue *queue, struct list_head *runs)
{
	bool was_empty;

	spin_lock_irq(&queue->lock);
	was_empty = list_empty(&queue->runs);
	list_splice_tail_init(runs, &queue->runs);
	/* Under the lock: a publisher that loses its CPU before it has woken
	 * the reader would hold up all the others, who rely on it.
	 */
	if (was_empty)
		wake_up_process(queue->reader);
	spin_unlock_irq(&queue->lock);
}

/**
 * nlbus_queue_take() - take all that is queued
 * @queue: the queue
 * @runs: where to append it. Its room stays in use until the caller gives
 *           it back with nlbus_queue_release().
 *
 * Return: whether there was anything.
 */
bool nlbus_queue_take(struct nlbus_queue *queue, struct list_head *runs)
{
	bool any;

	spin_lock_irq(&queue->lock);
	any = !list_empty(&queue->runs);
	list_splice_tail_init(&queue->runs, runs);
	spin_unlock_irq(&queue->lock);
	return any;
}

/**
 * nlbus_queue_close() - refuse all that comes, and those who wait
 * @queue: the queue
 *
 * What has found room is still taken: see nlbus_queue_done().
 */
void nlbus_queue_close(struct nlbus_queue *queue)
{
	struct task_struct *reader;

	spin_lock_irq(&queue->lock);
	queue->closed = true;
	reader = READ_ONCE(queue->reader);
	if (reader)
		wake_up_process(reader);
	spin_unlock_irq(&queue->lock);
	nlbus_queue_serve_all(queue);
}

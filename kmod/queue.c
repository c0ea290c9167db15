// SPDX-License-Identifier: GPL-2.0
/*
 * The publish queue: room is taken for a whole datagram first, then its runs are
 * added, so a datagram is accepted whole or not at all.
 */
#include <linux/sched.h>

#include "account.h"
#include "params.h"
#include "queue.h"
#include "run.h"

/**
 * nlbus_queue_init() - make an empty queue
 * @queue: the queue
 * @limit: bytes it may hold, at least NLBUS_QUEUE_MIN
 */
void nlbus_queue_init(struct nlbus_queue *queue, size_t limit)
{
	nlbus_room_init(&queue->room, limit - NLBUS_QUEUE_RESERVE(limit));
	INIT_LIST_HEAD(&queue->runs);
	queue->reader = NULL;
}

/**
 * nlbus_queue_wake() - have the bus thread look, from any context but NMI
 * @queue: the queue, whose bus needn't be started
 */
void nlbus_queue_wake(struct nlbus_queue *queue)
{
	struct task_struct *reader = READ_ONCE(queue->reader);

	if (reader)
		wake_up_process(reader);
}

/* Has the bus thread look, which waits for the last bytes of a closed queue: who
 * gives up what he had room for may have had them.
 */
static void nlbus_queue_wake_closed(struct nlbus_queue *queue)
{
	if (READ_ONCE(queue->room.closed))
		nlbus_queue_wake(queue);
}

/**
 * nlbus_queue_reserve() - get room for a datagram's events
 * @queue: the queue
 * @account: who publishes, or NULL for who is privileged
 * @bytes: how much
 * @wait: sleep until there is room, killably
 *
 * Return: 0; -EAGAIN for no room and no @wait; -EINTR when a fatal signal
 * struck; -ESHUTDOWN for a closed queue.
 */
int nlbus_queue_reserve(struct nlbus_queue *queue,
			struct nlbus_account *account, size_t bytes, bool wait)
{
	struct nlbus_room *rooms[NLBUS_ROOMS];
	unsigned int count = nlbus_account_rooms(account, rooms);
	int err;

	rooms[count++] = &queue->room;
	err = nlbus_room_take(rooms, count, bytes, wait);
	if (err)
		nlbus_queue_wake_closed(queue);
	return err;
}

/**
 * nlbus_queue_release() - give room back
 * @queue: the queue
 * @account: whose it was, or NULL for a privileged one's
 * @bytes: how much
 */
void nlbus_queue_release(struct nlbus_queue *queue,
			 struct nlbus_account *account, size_t bytes)
{
	struct nlbus_room *rooms[NLBUS_ROOMS];
	unsigned int count = nlbus_account_rooms(account, rooms);

	/* The last one first: who goes on finds what he takes next. */
	nlbus_room_give(&queue->room, bytes);
	while (count)
		nlbus_room_give(rooms[--count], bytes);
	nlbus_queue_wake_closed(queue);
}

/**
 * nlbus_queue_add() - queue runs that room was reserved for
 * @queue: the queue
 * @account: who publishes, or NULL
 * @runs: the runs; empty afterwards
 */
void nlbus_queue_add(struct nlbus_queue *queue, struct nlbus_account *account,
		     struct list_head *runs)
{
	struct nlbus_run *run;
	bool was_empty;

	if (account)
		list_for_each_entry(run, runs, link)
			run->account = nlbus_account_hold(account);

	spin_lock_irq(&queue->room.lock);
	was_empty = list_empty(&queue->runs);
	list_splice_tail_init(runs, &queue->runs);
	/* Under the lock: a publisher that loses its CPU before it has woken
	 * the reader would hold up all the others, who rely on it.
	 */
	if (was_empty)
		wake_up_process(queue->reader);
	spin_unlock_irq(&queue->room.lock);
}

/**
 * nlbus_queue_reserve_now() - get room for what kernel code publishes
 * @queue: the queue
 * @bytes: how much
 *
 * Called in any context but NMI. What is reserved for the kernel is there, too.
 *
 * Return: 0; -ENOBUFS for no room; -ESHUTDOWN for a closed queue.
 */
int nlbus_queue_reserve_now(struct nlbus_queue *queue, size_t bytes)
{
	return nlbus_room_take_now(&queue->room, bytes,
				   NLBUS_QUEUE_RESERVE(nlbus_params.queue));
}

/**
 * nlbus_queue_add_now() - queue a run that nlbus_queue_reserve_now() got room for
 * @queue: the queue, whose bus needn't be started
 * @run: the run, taken over
 */
void nlbus_queue_add_now(struct nlbus_queue *queue, struct nlbus_run *run)
{
	unsigned long flags;

	spin_lock_irqsave(&queue->room.lock, flags);
	if (list_empty(&queue->runs))
		nlbus_queue_wake(queue);
	list_add_tail(&run->link, &queue->runs);
	spin_unlock_irqrestore(&queue->room.lock, flags);
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

	spin_lock_irq(&queue->room.lock);
	any = !list_empty(&queue->runs);
	list_splice_tail_init(&queue->runs, runs);
	spin_unlock_irq(&queue->room.lock);
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
	nlbus_room_close(&queue->room);
	nlbus_queue_wake_closed(queue);
}

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The publish queue: events that were accepted and wait for the bus thread.
 * It is bounded, and that is the only thing that ever slows a publisher down.
 */
#ifndef _NLBUS_QUEUE_H
#define _NLBUS_QUEUE_H

#include <linux/list.h>
#include <linux/types.h>

#include "room.h"

struct nlbus_account;
struct nlbus_run;
struct task_struct;

/* The least that a queue may be limited to: it still takes any datagram, so
 * that no publisher waits for room which there can never be.
 */
#define NLBUS_QUEUE_MIN		(256 * 1024UL)

/* Of the limit, what publishing processes leave to kernel code, which can't
 * wait.
 */
#define NLBUS_QUEUE_RESERVE(limit)	((limit) / 8)

/**
 * struct nlbus_queue - what is published and not yet sequenced
 * @room: bytes of the runs, and of those that room was taken for; what processes
 *        may use of it. Its lock guards the rest.
 * @runs: events, in the order of acceptance
 * @reader: the bus thread; NULL until the bus is started
 */
struct nlbus_queue {
	struct nlbus_room room;
	struct list_head runs;
	struct task_struct *reader;
};

void nlbus_queue_init(struct nlbus_queue *queue, size_t limit);
int nlbus_queue_reserve(struct nlbus_queue *queue,
			struct nlbus_account *account, size_t bytes, bool wait);
void nlbus_queue_release(struct nlbus_queue *queue,
			 struct nlbus_account *account, size_t bytes);
void nlbus_queue_add(struct nlbus_queue *queue, struct nlbus_account *account,
		     struct list_head *runs);
int nlbus_queue_reserve_now(struct nlbus_queue *queue, size_t bytes);
void nlbus_queue_add_now(struct nlbus_queue *queue, struct nlbus_run *run);
void nlbus_queue_wake(struct nlbus_queue *queue);
bool nlbus_queue_take(struct nlbus_queue *queue, struct list_head *runs);
void nlbus_queue_close(struct nlbus_queue *queue);

/* Whether it is closed, and all that found room before was taken out. */
static inline bool nlbus_queue_done(const struct nlbus_queue *queue)
{
	return READ_ONCE(queue->room.closed) && !READ_ONCE(queue->room.used);
}

/* Whether nothing waits in it or for it, and it is open. */
static inline bool nlbus_queue_idle(const struct nlbus_queue *queue)
{
	return list_empty_careful(&queue->runs) &&
	       list_empty_careful(&queue->room.waiters) &&
	       !READ_ONCE(queue->room.closed);
}

static inline bool nlbus_queue_empty(const struct nlbus_queue *queue)
{
	return list_empty_careful(&queue->runs);
}

#endif /* _NLBUS_QUEUE_H */

// SPDX-License-Identifier: GPL-2.0
/*
 * Who needs several rooms takes them in order, and waits for one while he has
 * those in front of it: so who has used up his own is in nobody's way.
 *
 * No two locks of rooms are held together. Between two rooms a waiter belongs to
 * whoever took him out of the first one's list, and is moved on by him.
 */
#include <linux/completion.h>
#include <linux/errno.h>
#include <linux/kernel.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>

#include "room.h"

/* Waiters that are taken out at once, with interrupts off. */
#define NLBUS_ROOM_TURN	32

/**
 * struct nlbus_waiter - who takes room
 * @link: in &nlbus_room.waiters, or being moved on
 * @rooms: what he needs, in order
 * @count: how many these are
 * @taken: how many he has, of those in front
 * @bytes: how much he needs of each
 * @waits: the room that he waits for, under its lock; NULL while he doesn't
 * @patient: he does wait
 * @killed: he is to be moved on no more
 * @err: why he doesn't get the rest; 0 for none
 * @done: completed when he has all or won't get it
 */
struct nlbus_waiter {
	struct list_head link;
	struct nlbus_room *const *rooms;
	unsigned int count;
	unsigned int taken;
	size_t bytes;
	struct nlbus_room *waits;
	bool patient;
	bool killed;
	int err;
	struct completion done;
};

/**
 * nlbus_room_init() - have nothing taken
 * @room: the room
 * @limit: its bytes
 */
void nlbus_room_init(struct nlbus_room *room, size_t limit)
{
	spin_lock_init(&room->lock);
	INIT_LIST_HEAD(&room->waiters);
	room->used = 0;
	room->limit = limit;
	room->closed = false;
}

static bool nlbus_room_fits(const struct nlbus_room *room, size_t bytes)
{
	return room->used + bytes <= room->limit;
}

/* Takes the room that is next, or waits for it; under its lock. Nobody overtakes
 * those who wait already, so that many small ones can't keep a large one out.
 */
static void nlbus_room_next(struct nlbus_room *room, struct nlbus_waiter *waiter)
{
	if (room->closed) {
		waiter->err = -ESHUTDOWN;
	} else if (READ_ONCE(waiter->killed)) {
		waiter->err = -EINTR;
	} else if (list_empty(&room->waiters) &&
		   nlbus_room_fits(room, waiter->bytes)) {
		room->used += waiter->bytes;
		waiter->taken++;
	} else if (!waiter->patient) {
		waiter->err = -EAGAIN;
	} else {
		waiter->waits = room;
		list_add_tail(&waiter->link, &room->waiters);
	}
}

/* Takes room after room, up to one that has to be waited for. Return: whether
 * that is over, in one way or the other.
 */
static bool nlbus_room_go_on(struct nlbus_waiter *waiter)
{
	bool waits = false;

	while (!waits && !waiter->err && waiter->taken < waiter->count) {
		struct nlbus_room *room = waiter->rooms[waiter->taken];

		spin_lock_irq(&room->lock);
		nlbus_room_next(room, waiter);
		waits = waiter->waits;
		spin_unlock_irq(&room->lock);
	}
	return !waits;
}

/* Takes out a few of those who wait and are to go on; under the lock. Return:
 * whether there may be more.
 */
static bool nlbus_room_pick(struct nlbus_room *room, struct list_head *picked)
{
	unsigned int turn = NLBUS_ROOM_TURN;
	struct nlbus_waiter *waiter;

	while ((waiter = list_first_entry_or_null(&room->waiters,
						  struct nlbus_waiter, link))) {
		if (!room->closed && !nlbus_room_fits(room, waiter->bytes))
			return false;
		if (!turn--)
			return true;
		if (room->closed) {
			waiter->err = -ESHUTDOWN;
		} else {
			room->used += waiter->bytes;
			waiter->taken++;
		}
		waiter->waits = NULL;
		list_move_tail(&waiter->link, picked);
	}
	return false;
}

/* Lets all go on who may. That takes other rooms' locks and wakes tasks, so it is
 * done without this one's.
 */
static void nlbus_room_serve(struct nlbus_room *room)
{
	struct nlbus_waiter *waiter, *next;
	bool more;

	do {
		LIST_HEAD(picked);

		spin_lock_irq(&room->lock);
		more = nlbus_room_pick(room, &picked);
		spin_unlock_irq(&room->lock);
		/* Who is told, or waits again, is somebody else's. */
		list_for_each_entry_safe(waiter, next, &picked, link)
			if (nlbus_room_go_on(waiter))
				complete(&waiter->done);
	} while (more);
}

/* Has one who was killed wait no more. Each room is looked at in the order in which
 * he takes them: who moves him on sees that he was killed, or is seen. Those whom
 * he kept out go on when what he waited for is given back.
 */
static void nlbus_room_leave(struct nlbus_waiter *waiter)
{
	unsigned int i;

	WRITE_ONCE(waiter->killed, true);
	for (i = 0; i < waiter->count; i++) {
		struct nlbus_room *room = waiter->rooms[i];
		bool waits;

		spin_lock_irq(&room->lock);
		waits = waiter->waits == room;
		if (waits)
			list_del(&waiter->link);
		spin_unlock_irq(&room->lock);
		if (waits)
			return;
	}
	wait_for_completion(&waiter->done);
}

/**
 * nlbus_room_take() - take room
 * @rooms: all that it counts in; where some is used up by few, those who use it
 *         come first
 * @count: how many, at most NLBUS_ROOMS
 * @bytes: how much, in each of them
 * @wait: sleep until there is room, killably
 *
 * Return: 0; -EAGAIN for no room and no @wait; -EINTR when a fatal signal
 * struck; -ESHUTDOWN when one is closed. Then nothing is taken.
 */
int nlbus_room_take(struct nlbus_room *const rooms[], unsigned int count,
		    size_t bytes, bool wait)
{
	struct nlbus_waiter waiter = {
		.rooms = rooms,
		.count = count,
		.bytes = bytes,
		.patient = wait,
	};

	init_completion(&waiter.done);
	if (!nlbus_room_go_on(&waiter) &&
	    wait_for_completion_killable(&waiter.done)) {
		nlbus_room_leave(&waiter);
		waiter.err = -EINTR;
	}
	while (waiter.err && waiter.taken)
		nlbus_room_give(rooms[--waiter.taken], bytes);
	return waiter.err;
}

/**
 * nlbus_room_take_now() - take room, past those who wait, from any context but NMI
 * @room: the room
 * @bytes: how much
 * @more: bytes that there are beyond its limit, for who can't wait
 *
 * Return: 0; -ENOBUFS for no room; -ESHUTDOWN when it is closed.
 */
int nlbus_room_take_now(struct nlbus_room *room, size_t bytes, size_t more)
{
	unsigned long flags;
	int err = 0;

	spin_lock_irqsave(&room->lock, flags);
	if (room->closed)
		err = -ESHUTDOWN;
	else if (room->used + bytes > room->limit + more)
		err = -ENOBUFS;
	else
		room->used += bytes;
	spin_unlock_irqrestore(&room->lock, flags);
	return err;
}

/**
 * nlbus_room_give() - give room back
 * @room: the room
 * @bytes: how much
 *
 * Sleepers are woken only once a quarter of it is free: a publisher then gets
 * many datagrams out before it sleeps again.
 */
void nlbus_room_give(struct nlbus_room *room, size_t bytes)
{
	bool serve;

	spin_lock_irq(&room->lock);
	room->used -= bytes;
	serve = room->used <= room->limit / 4 * 3 &&
		!list_empty(&room->waiters);
	spin_unlock_irq(&room->lock);
	if (serve)
		nlbus_room_serve(room);
}

/**
 * nlbus_room_close() - refuse all that come, and those who wait
 * @room: the room
 */
void nlbus_room_close(struct nlbus_room *room)
{
	spin_lock_irq(&room->lock);
	room->closed = true;
	spin_unlock_irq(&room->lock);
	nlbus_room_serve(room);
}

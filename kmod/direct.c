// SPDX-License-Identifier: GPL-2.0
/*
 * Direct dispatch. An event that finds the bus idle is numbered and broadcast in
 * its publisher's task, which wakes its subscribers and nobody in between. All
 * else goes through the queue to the bus thread, which packs what waits.
 *
 * A publisher owns the bus for one event and isn't preempted meanwhile, so the
 * bus thread, which may sleep while it owns the bus, spins for the few
 * microseconds until it is its turn. Publishers never wait for ownership: what
 * finds the bus owned is queued, which wakes the bus thread. The order of events
 * is the order of ownership either way.
 */
#include <linux/kconfig.h>
#include <linux/list.h>
#include <linux/preempt.h>
#include <linux/sched.h>
#include <linux/time64.h>
#include <linux/timekeeping.h>

#include "bus.h"
#include "direct.h"
#include "params.h"
#include "record.h"
#include "reply.h"
#include "topic.h"

/* What the last broadcast may have taken for the next one to be done without
 * preemption: it grows with the number of sockets.
 */
#define NLBUS_DIRECT_NS		(200 * NSEC_PER_USEC)

/* What became of an event. */
enum nlbus_direct {
	NLBUS_DIRECT_NOT,	/* nothing: it is to be queued */
	NLBUS_DIRECT_SENT,	/* numbered and broadcast */
	NLBUS_DIRECT_PACKED,	/* numbered, and left to the bus thread */
};

/* Nothing that waits is overtaken, a closed bus has had its last event, and what
 * needs memory that isn't at hand is the bus thread's.
 */
static bool nlbus_direct_may(const struct nlbus_bus *bus,
			     const struct nlbus_record *record)
{
	return nlbus_queue_idle(&bus->queue) &&
	       nlbus_packs_empty(&bus->packs) &&
	       bus->packs.broadcast_ns < NLBUS_DIRECT_NS &&
	       nlbus_history_has_slot(&record->topic->history, record);
}

/* The owner's part: without preemption, so nothing in here sleeps. */
static enum nlbus_direct nlbus_direct_dispatch(struct nlbus_bus *bus,
					       struct nlbus_record *record,
					       struct list_head *dead)
{
	if (!nlbus_direct_may(bus, record))
		return NLBUS_DIRECT_NOT;
	nlbus_bus_number(bus, record, ktime_get_boottime_ns(), false);
	list_splice_init(&bus->dead, dead);
	if (nlbus_pack_now(bus, record))
		return NLBUS_DIRECT_SENT;
	nlbus_pack_add(bus, record);
	return NLBUS_DIRECT_PACKED;
}

/**
 * nlbus_direct() - dispatch an event at once, if the bus is idle
 * @bus: the bus
 * @record: the event, whose topic is there; its reference is taken over if it
 *          is dispatched
 *
 * May sleep.
 *
 * Return: whether it was dispatched; if not, it is to be queued.
 */
bool nlbus_direct(struct nlbus_bus *bus, struct nlbus_record *record)
{
	enum nlbus_direct done = NLBUS_DIRECT_NOT;
	LIST_HEAD(dead);

	/* Not where netlink's spinlocks sleep. */
	if (IS_ENABLED(CONFIG_PREEMPT_RT) ||
	    nlbus_record_len(record) > nlbus_params.pack)
		return false;

	preempt_disable();
	if (nlbus_bus_try_own(bus)) {
		done = nlbus_direct_dispatch(bus, record, &dead);
		nlbus_bus_disown(bus);
	}
	preempt_enable();

	switch (done) {
	case NLBUS_DIRECT_NOT:
		return false;
	case NLBUS_DIRECT_PACKED:
		wake_up_process(bus->queue.reader);
		break;
	case NLBUS_DIRECT_SENT:
		nlbus_record_sent(bus->sk, record);
		break;
	}
	nlbus_record_free_list(&dead);
	return true;
}

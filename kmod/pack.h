/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Packs: events that wait for the same group go out in one datagram.
 */
#ifndef _NLBUS_PACK_H
#define _NLBUS_PACK_H

#include <linux/list.h>
#include <linux/types.h>

struct nlbus_bus;
struct nlbus_record;

/**
 * struct nlbus_pack - what waits to be broadcast to one group
 * @records: events, in order
 * @len: bytes of their messages
 * @waiting: in &nlbus_packs.waiting, unless it is empty
 */
struct nlbus_pack {
	struct list_head records;
	u32 len;
	struct list_head waiting;
};

/**
 * struct nlbus_packs - the packs of a bus; its owner's
 * @of: by group, from 1
 * @waiting: those that aren't empty, in the order in which they began
 * @broadcast_ns: what the last broadcast took
 */
struct nlbus_packs {
	struct nlbus_pack *of;
	struct list_head waiting;
	u64 broadcast_ns;
};

int nlbus_packs_start(struct nlbus_packs *packs);
void nlbus_packs_free(struct nlbus_packs *packs);
void nlbus_pack_add(struct nlbus_bus *bus, struct nlbus_record *record);
void nlbus_packs_flush(struct nlbus_bus *bus);
bool nlbus_pack_now(struct nlbus_bus *bus, struct nlbus_record *record);

static inline bool nlbus_packs_empty(const struct nlbus_packs *packs)
{
	return list_empty_careful(&packs->waiting);
}

#endif /* _NLBUS_PACK_H */

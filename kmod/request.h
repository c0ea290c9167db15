/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Requests: INFO, TOPIC, REPLAY, WILL. Checked here, answered in answer.c.
 */
#ifndef _NLBUS_REQUEST_H
#define _NLBUS_REQUEST_H

#include <linux/bits.h>
#include <linux/types.h>

struct nlmsghdr;
struct nlbus_refusal;

/* What a topic can be given: &nlbus_request.has. */
#define NLBUS_HAS_MODE		BIT(0)
#define NLBUS_HAS_UID		BIT(1)
#define NLBUS_HAS_GID		BIT(2)
#define NLBUS_HAS_HISTORY	BIT(3)
#define NLBUS_HAS_TYPE		BIT(4)

/**
 * struct nlbus_request - a request that was checked
 * @op: TOPIC: enum nlbus_topic_op
 * @create: TOPIC: create it if it doesn't exist
 * @exclusive: TOPIC: refuse one that exists
 * @replace: TOPIC: change one that exists
 * @has: TOPIC: which of the five that follow are given
 * @mode: TOPIC: as &nlbus_access.mode
 * @uid: TOPIC: owner, as the bus's user namespace has it
 * @gid: TOPIC: owning group, likewise
 * @history: TOPIC: bytes that it may keep
 * @type: TOPIC: what its values are called, in the message
 * @type_len: TOPIC: bytes of it, 0 for not known
 * @name: TOPIC, WILL: name, in the message; or NULL
 * @name_len: TOPIC, WILL: its bytes
 * @id: TOPIC, REPLAY: topic's id
 * @cursor: TOPIC: list those with higher ids
 * @since: TOPIC: list those that changed later
 * @has_since: TOPIC: whether that is wanted
 * @epoch: REPLAY: that id and number are of
 * @from: REPLAY: the first number wanted
 * @limit: REPLAY: events at most, 0 = what fits
 * @content: WILL: enum nlbus_content
 * @payload: WILL: its bytes, in the message
 * @payload_len: WILL: how many
 */
struct nlbus_request {
	u32 op;
	bool create;
	bool exclusive;
	bool replace;
	u32 has;
	u16 mode;
	u32 uid;
	u32 gid;
	u64 history;
	const u8 *type;
	u8 type_len;
	const u8 *name;
	u8 name_len;
	u32 id;
	u32 cursor;
	u64 since;
	bool has_since;
	u64 epoch;
	u64 from;
	u32 limit;
	u16 content;
	const u8 *payload;
	u32 payload_len;
};

int nlbus_request_check(const struct nlmsghdr *nlh,
			struct nlbus_request *request,
			struct nlbus_refusal *refusal);

#endif /* _NLBUS_REQUEST_H */

/* SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR MIT */
/*
 * nlbus: a publish/subscribe event bus for one host, carried by netlink
 *
 * This header is the one source of the protocol. Both brokers, the kernel
 * module and the user broker over NETLINK_USERSOCK, speak it; docs/PROTOCOL.md
 * tells the same in prose, with the errors of each request.
 *
 * All integers are host-endian: netlink never leaves the host. Each message
 * starts with struct nlmsghdr and the next one at NLMSG_ALIGN (4), so nothing
 * here is aligned beyond 4 and structures are packed. A datagram is at most
 * NLBUS_DATAGRAM_MAX bytes, in either direction, and may hold many messages.
 */
#ifndef _UAPI_LINUX_NLBUS_H
#define _UAPI_LINUX_NLBUS_H

#include <linux/types.h>

/* Raised when a client of the old version could misread the new one. */
#define NLBUS_VERSION		1

/* Generic netlink family for discovery and for the module's end.
 *
 * NLBUS_CMD_INFO answers INFO's attributes (enum nlbus_info_attr) for the
 * caller's network namespace; ESHUTDOWN from a module that is retired.
 *
 * NLBUS_CMD_RETIRE takes CAP_SYS_MODULE and ends all buses of the module, in
 * each namespace: what was accepted is broadcast, then $SYS/closing, and all
 * that comes later is refused with ESHUTDOWN. Each socket that is a member of
 * NLBUS_GROUP_SYS or ever sent to the bus gets that as its error, once a second.
 * Clients close their sockets, and when all have, the module can be removed.
 * There is no way back but that.
 */
#define NLBUS_GENL_NAME		"nlbus"
#define NLBUS_GENL_VERSION	1

enum nlbus_genl_cmd {
	NLBUS_CMD_UNSPEC,
	NLBUS_CMD_INFO,
	NLBUS_CMD_RETIRE,
};

/* The module's netlink protocol and number of groups; both are module
 * parameters, so a client learns the real ones from the family.
 */
#define NLBUS_PROTOCOL		25
#define NLBUS_GROUPS		1024

/* The user broker's port ids: this one takes publishes and sends events,
 * the next one takes and answers requests. Above 2^22 (no process id) and
 * below 2^31 (netlink's automatic ids are process ids or have the top bit
 * set), so that the kernel never gives them to anybody unasked.
 */
#define NLBUS_USER_PORT		0x6e6c6274
#define NLBUS_USER_GROUPS	32

/* Port ids of bridges, which publish on this bus what was published on another
 * host's: whoever takes events to other hosts leaves out those whose sender has
 * one of these. Nobody else is to bind them; the kernel gives them to nobody
 * unasked either.
 */
#define NLBUS_BRIDGE_PORT_FIRST	0x6e6c4200
#define NLBUS_BRIDGE_PORT_LAST	0x6e6c42ff

/* Multicast groups, 1-based as setsockopt(NETLINK_ADD_MEMBERSHIP) has them.
 * All other groups are the broker's to assign: a client learns a topic's
 * group from NLBUS_MSG_TOPIC and never computes it.
 */
#define NLBUS_GROUP_SYS		1	/* $SYS/heartbeat, topics, closing */
#define NLBUS_GROUP_CLIENTS	2	/* $SYS/clients */
#define NLBUS_GROUP_FIRST	3	/* the first one for topics */

/* Sizes in bytes. The largest datagram with struct skb_shared_info behind it
 * still fits a 64 KiB allocation; the largest payload, with the longest topic
 * and the closing message of a replay, still fits the largest datagram.
 */
#define NLBUS_TOPIC_MAX		255
#define NLBUS_TYPE_MAX		63
#define NLBUS_PAYLOAD_MAX	64512
#define NLBUS_DATAGRAM_MAX	65216

/* nlmsg_type */
enum nlbus_msg_type {
	/* client -> broker: struct nlbus_event_hdr, topic, payload. With
	 * NLM_F_ACK, which only the last message of a datagram may carry, the
	 * broker answers NLMSG_ERROR 0 whose NLMSGERR_ATTR_COOKIE is the
	 * event's sequence number as u64, once every subscriber's socket took
	 * the event or counted a drop. A datagram is accepted whole or refused
	 * whole: then one NLMSG_ERROR echoes the header of the first bad
	 * message. With NLBUS_EVENT_F_LOST the payload is struct nlbus_lost
	 * and no event: its numbers are used up, and the last one is what an
	 * ack tells.
	 */
	NLBUS_MSG_PUBLISH	= 0x10,
	/* broker -> group: same body; nlmsg_seq is the low half of the epoch,
	 * nlmsg_pid 0; all messages of a datagram but the last carry
	 * NLM_F_MULTI. broker -> one client in a replay: nlmsg_seq and
	 * nlmsg_pid are the request's.
	 */
	NLBUS_MSG_EVENT		= 0x11,
	/* request without attributes; reply: enum nlbus_info_attr */
	NLBUS_MSG_INFO		= 0x12,
	/* request and reply: enum nlbus_topic_attr, enum nlbus_topic_op */
	NLBUS_MSG_TOPIC		= 0x13,
	/* request and closing message: enum nlbus_replay_attr */
	NLBUS_MSG_REPLAY	= 0x14,
	/* request: enum nlbus_will_attr */
	NLBUS_MSG_WILL		= 0x15,
};

/**
 * struct nlbus_event_hdr - what precedes an event's topic and payload
 * @seq: position in the topic, consecutive from 1
 * @time_ns: CLOCK_BOOTTIME when sequenced; never decreases within a topic
 * @topic_id: the broker's id of the topic, never reused within an epoch
 * @portid: sender's netlink port id, 0 for kernel code and the broker
 * @pid: sender's process id (tgid in the initial pid namespace)
 * @uid: sender's user id, in the bus's user namespace
 * @topic_len: bytes of the topic name, 1 to NLBUS_TOPIC_MAX
 * @flags: NLBUS_EVENT_F_*
 * @content: enum nlbus_content
 * @reserved: zero
 *
 * The topic's bytes follow, zero-padded to a multiple of 8, then the payload,
 * which runs to nlmsg_len. A publisher fills @topic_len, @flags and @content
 * and leaves the rest zero, which is checked.
 */
struct nlbus_event_hdr {
	__u64 seq;
	__u64 time_ns;
	__u32 topic_id;
	__u32 portid;
	__u32 pid;
	__u32 uid;
	__u16 topic_len;
	__u16 flags;
	__u16 content;
	__u16 reserved;
} __attribute__((packed));

#define NLBUS_TOPIC_ALIGNTO	8

#define NLBUS_EVENT_F_KERNEL	0x0001	/* published by kernel code */
#define NLBUS_EVENT_F_REPLAYED	0x0002	/* out of history */
#define NLBUS_EVENT_F_WILL	0x0004	/* a client's last will */
#define NLBUS_EVENT_F_NO_WAIT	0x0008	/* publish: EAGAIN, not sleep */
#define NLBUS_EVENT_F_LOST	0x0010	/* publish: numbers without events */
/* those a publisher may set; others are refused with EINVAL */
#define NLBUS_EVENT_F_PUBLISH	(NLBUS_EVENT_F_NO_WAIT | NLBUS_EVENT_F_LOST)

/**
 * struct nlbus_lost - payload of a publish with NLBUS_EVENT_F_LOST
 * @count: how many of the topic's numbers are used up by nothing, 1 to
 *         NLBUS_LOST_MAX
 *
 * For who brings events from elsewhere and knows that some were lost on their
 * way: subscribers find a gap in the topic's numbers that history can't fill.
 * Its content is NLBUS_CONTENT_OPAQUE. A topic whose newest number is beyond
 * NLBUS_LOST_HEAD_MAX has no more of them to lose: so they stay below 2^53, up
 * to which a double tells them apart.
 */
struct nlbus_lost {
	__u64 count;
} __attribute__((packed));

#define NLBUS_LOST_MAX		0xffffffffU
#define NLBUS_LOST_HEAD_MAX	(1ULL << 50)

enum nlbus_content {
	NLBUS_CONTENT_OPAQUE,
	NLBUS_CONTENT_TEXT,	/* UTF-8; not checked by the broker */
	NLBUS_CONTENT_BINCODE,	/* bincode, fixed-width little-endian */
	NLBUS_CONTENT_JSON,
	__NLBUS_CONTENT_MAX,
};

#define NLBUS_CONTENT_MAX (__NLBUS_CONTENT_MAX - 1)

/* Attributes of INFO's reply and of NLBUS_CMD_INFO's. */
enum nlbus_info_attr {
	NLBUS_INFO_A_UNSPEC,
	NLBUS_INFO_A_PAD,
	NLBUS_INFO_A_VERSION,		/* u32: NLBUS_VERSION */
	NLBUS_INFO_A_BROKER,		/* u32: enum nlbus_broker */
	NLBUS_INFO_A_EPOCH,		/* u64: random, not 0, new with each bus */
	NLBUS_INFO_A_PROTOCOL,		/* u32: netlink protocol */
	NLBUS_INFO_A_PUBLISH_PORT,	/* u32: where publishes go */
	NLBUS_INFO_A_REQUEST_PORT,	/* u32: where requests go */
	NLBUS_INFO_A_GROUPS,		/* u32: number of multicast groups */
	NLBUS_INFO_A_UPTIME_NS,		/* u64: since the bus began */
	NLBUS_INFO_A_CLOCK_OFFSET_NS,	/* s64: CLOCK_REALTIME - CLOCK_BOOTTIME */
	NLBUS_INFO_A_HEARTBEAT_MS,	/* u32: interval, 0 = off */
	NLBUS_INFO_A_LIMITS,		/* nest: enum nlbus_limit_attr */
	NLBUS_INFO_A_COUNTERS,		/* nest: enum nlbus_counter_attr */
	__NLBUS_INFO_A_MAX,
};

#define NLBUS_INFO_A_MAX (__NLBUS_INFO_A_MAX - 1)

enum nlbus_broker {
	NLBUS_BROKER_MODULE,
	NLBUS_BROKER_USER,
};

enum nlbus_limit_attr {
	NLBUS_LIMIT_A_UNSPEC,
	NLBUS_LIMIT_A_PAD,
	NLBUS_LIMIT_A_TOPICS,		/* u32: topics on the bus */
	NLBUS_LIMIT_A_PAYLOAD,		/* u32: bytes of one payload */
	NLBUS_LIMIT_A_DATAGRAM,		/* u32: bytes of one datagram */
	NLBUS_LIMIT_A_PACK,		/* u32: bytes of a packed broadcast */
	NLBUS_LIMIT_A_QUEUE,		/* u64: bytes published and not yet sequenced */
	NLBUS_LIMIT_A_HISTORY,		/* u64: bytes of all histories */
	NLBUS_LIMIT_A_TOPIC_HISTORY,	/* u64: bytes of one, unless set */
	NLBUS_LIMIT_A_PRIVATE_GROUPS,	/* u32: groups for topics that not all may
					 * read, each used once; 0: they share
					 */
	NLBUS_LIMIT_A_TOPIC_MODE,	/* u32: of a topic, unless set */
	/* What one user may have; 0 where that isn't limited. */
	NLBUS_LIMIT_A_USER_TOPICS,	/* u32: of TOPICS, those he created */
	NLBUS_LIMIT_A_USER_QUEUE,	/* u64: of QUEUE */
	NLBUS_LIMIT_A_USER_HISTORY,	/* u64: of HISTORY, of topics he created */
	NLBUS_LIMIT_A_USER_PRIVATE_GROUPS, /* u32: of PRIVATE_GROUPS */
	NLBUS_LIMIT_A_WILLS,		/* u32: last wills on the bus */
	NLBUS_LIMIT_A_USER_WILLS,	/* u32: of these, those of one user */
	__NLBUS_LIMIT_A_MAX,
};

#define NLBUS_LIMIT_A_MAX (__NLBUS_LIMIT_A_MAX - 1)

/* All u64, since the bus began; TOPICS, QUEUE, HISTORY, CLIENTS and WILLS are of now. */
enum nlbus_counter_attr {
	NLBUS_COUNTER_A_UNSPEC,
	NLBUS_COUNTER_A_PAD,
	NLBUS_COUNTER_A_PUBLISHED,	/* events sequenced */
	NLBUS_COUNTER_A_REFUSED,	/* datagrams and requests refused */
	NLBUS_COUNTER_A_BROADCASTS,	/* datagrams sent to groups */
	NLBUS_COUNTER_A_OVERRUNS,	/* of these, not taken by some socket that
					 * asks for it (NETLINK_BROADCAST_ERROR)
					 */
	NLBUS_COUNTER_A_REPLAYED,	/* events sent out of history */
	NLBUS_COUNTER_A_EVICTED,	/* events that history let go */
	NLBUS_COUNTER_A_TOPICS,		/* topics on the bus */
	NLBUS_COUNTER_A_QUEUE,		/* bytes in the publish queue */
	NLBUS_COUNTER_A_HISTORY,	/* bytes in all histories */
	NLBUS_COUNTER_A_MOVED,		/* see struct nlbus_sys_topics */
	NLBUS_COUNTER_A_PRIVATE_GROUPS,	/* of these, those that were used */
	NLBUS_COUNTER_A_KERNEL_DROPPED,	/* events of kernel code that there was no
					 * room or no memory for
					 */
	NLBUS_COUNTER_A_CLIENTS,	/* sockets that sent something and are open */
	NLBUS_COUNTER_A_WILLS,		/* last wills that clients left */
	NLBUS_COUNTER_A_LOST,		/* numbers used up by NLBUS_EVENT_F_LOST */
	__NLBUS_COUNTER_A_MAX,
};

#define NLBUS_COUNTER_A_MAX (__NLBUS_COUNTER_A_MAX - 1)

/* What a TOPIC request asks for: NLBUS_TOPIC_A_OP, GET when absent. */
enum nlbus_topic_op {
	/* By NAME or ID; of one that may not be read only its owner is told.
	 * With NLM_F_CREATE and NAME the topic is created when it does not
	 * exist, with MODE, UID, GID, HISTORY and TYPE if given; NLM_F_EXCL
	 * then refuses one that does. Of one that does, and has no type, TYPE
	 * is set if the sender may write to it. With NLM_F_REPLACE those of
	 * the five that are given are set: the owner may, and CAP_NET_ADMIN; a
	 * UID that is not his takes CAP_NET_ADMIN, and so does a GID that he
	 * is not in. Reply: one TOPIC message, with ID to REPLAYED, and TYPE
	 * if it has one.
	 */
	NLBUS_TOPIC_OP_GET,
	/* A page of the topics that may be read, in the order of their ids,
	 * those above CURSOR (0 when absent); with SINCE only those whose
	 * CHANGE is above it. Reply: one datagram of TOPIC messages with
	 * NLM_F_MULTI, ID to REPLAYED each, and a closing one without, that
	 * holds LAST_ID, CHANGE (of the bus), MOVED and, if there is more,
	 * CURSOR to go on from.
	 */
	NLBUS_TOPIC_OP_LIST,
	/* By NAME or ID: the topic ends, with its history. Its owner may, and
	 * CAP_NET_ADMIN. What is published to the name later is another topic,
	 * with another id. Reply: one TOPIC message, with ID.
	 */
	NLBUS_TOPIC_OP_DELETE,
	__NLBUS_TOPIC_OP_MAX,
};

#define NLBUS_TOPIC_OP_MAX (__NLBUS_TOPIC_OP_MAX - 1)

enum nlbus_topic_attr {
	NLBUS_TOPIC_A_UNSPEC,
	NLBUS_TOPIC_A_PAD,
	NLBUS_TOPIC_A_OP,		/* u32: enum nlbus_topic_op */
	NLBUS_TOPIC_A_CURSOR,		/* u32: topic id */
	NLBUS_TOPIC_A_SINCE,		/* u64 */
	NLBUS_TOPIC_A_LAST_ID,		/* u32: the newest topic's id */
	NLBUS_TOPIC_A_ID,		/* u32: from 1 */
	NLBUS_TOPIC_A_NAME,		/* bytes, 1 to NLBUS_TOPIC_MAX, no NUL */
	NLBUS_TOPIC_A_GROUP,		/* u32: multicast group */
	NLBUS_TOPIC_A_HEAD,		/* u64: newest sequence number, 0 = none yet */
	NLBUS_TOPIC_A_FIRST,		/* u64: first kept, HEAD + 1 = none */
	NLBUS_TOPIC_A_BYTES,		/* u64: bytes kept */
	NLBUS_TOPIC_A_CHANGE,		/* u64: the bus's change count when it last changed */
	NLBUS_TOPIC_A_MODE,		/* u32: as chmod(2), of NLBUS_TOPIC_MODE_MASK */
	NLBUS_TOPIC_A_UID,		/* u32: owner */
	NLBUS_TOPIC_A_GID,		/* u32: owning group */
	NLBUS_TOPIC_A_HISTORY,		/* u64: bytes it may keep */
	NLBUS_TOPIC_A_BROADCAST,	/* u64: events sent to the group */
	NLBUS_TOPIC_A_DROPPED,		/* u64: of these, not taken by some socket
					 * that asks for it, see OVERRUNS
					 */
	NLBUS_TOPIC_A_REPLAYED,		/* u64: events sent out of history */
	NLBUS_TOPIC_A_MOVED,		/* u64: see struct nlbus_sys_topics */
	NLBUS_TOPIC_A_TYPE,		/* what its values are called: 1 to
					 * NLBUS_TYPE_MAX bytes of printable ASCII;
					 * with REPLACE none takes it away
					 */
	__NLBUS_TOPIC_A_MAX,
};

#define NLBUS_TOPIC_A_MAX (__NLBUS_TOPIC_A_MAX - 1)

/* Read: subscribe and replay; write: publish. As of a file, one class counts:
 * owner, else group, else others. CAP_NET_ADMIN may all.
 */
#define NLBUS_TOPIC_MODE_MASK	0666

/* REPLAY: one datagram of EVENT messages with NLM_F_MULTI and
 * NLBUS_EVENT_F_REPLAYED, and a closing REPLAY message without. A foreign
 * epoch is ESTALE, an unknown topic ENOENT, FROM beyond HEAD + 1 ERANGE. FROM
 * below FIRST starts at FIRST.
 */
enum nlbus_replay_attr {
	NLBUS_REPLAY_A_UNSPEC,
	NLBUS_REPLAY_A_PAD,
	NLBUS_REPLAY_A_EPOCH,		/* request, u64 */
	NLBUS_REPLAY_A_TOPIC,		/* request and closing, u32: topic id */
	NLBUS_REPLAY_A_FROM,		/* request, u64: from 1 */
	NLBUS_REPLAY_A_LIMIT,		/* request, u32: events at most; 0 or absent = what fits */
	NLBUS_REPLAY_A_FIRST,		/* closing, u64: first kept; above FROM if that
					 * and those up to here aren't
					 */
	NLBUS_REPLAY_A_NEXT,		/* closing, u64: where to go on from */
	NLBUS_REPLAY_A_HEAD,		/* closing, u64: newest sequence number */
	__NLBUS_REPLAY_A_MAX,
};

#define NLBUS_REPLAY_A_MAX (__NLBUS_REPLAY_A_MAX - 1)

/* WILL: with TOPIC sets the last will of the socket that sends it, without takes it
 * back. The broker publishes it, with NLBUS_EVENT_F_WILL, when the socket is closed,
 * for whatever reason. Its topic is created now if it isn't there, and who may
 * publish to it is checked now and then. One too many is ENOSPC or EDQUOT.
 */
enum nlbus_will_attr {
	NLBUS_WILL_A_UNSPEC,
	NLBUS_WILL_A_PAD,
	NLBUS_WILL_A_TOPIC,		/* bytes, 1 to NLBUS_TOPIC_MAX */
	NLBUS_WILL_A_CONTENT,		/* u32: enum nlbus_content */
	NLBUS_WILL_A_PAYLOAD,		/* bytes, to NLBUS_PAYLOAD_MAX */
	__NLBUS_WILL_A_MAX,
};

#define NLBUS_WILL_A_MAX (__NLBUS_WILL_A_MAX - 1)

/* The broker's own topics, all in NLBUS_GROUP_SYS but for the clients, which are in
 * NLBUS_GROUP_CLIENTS. The payloads' content is
 * NLBUS_CONTENT_BINCODE: packed little-endian structures are valid bincode.
 */
#define NLBUS_SYS_HEARTBEAT	"$SYS/heartbeat"
#define NLBUS_SYS_TOPICS	"$SYS/topics"
#define NLBUS_SYS_CLOSING	"$SYS/closing"
#define NLBUS_SYS_CLIENTS	"$SYS/clients"

/**
 * struct nlbus_sys_heartbeat - payload of $SYS/heartbeat, once an interval
 * @epoch: as INFO
 * @uptime_ns: since the bus began
 * @published: events sequenced, this one not counted
 * @overruns: broadcasts that some socket did not take
 * @change: the bus's change count: it rises with every event and every topic
 * @last_id: the newest topic's id
 * @moved: as &struct nlbus_sys_topics, of the last one
 */
struct nlbus_sys_heartbeat {
	__le64 epoch;
	__le64 uptime_ns;
	__le64 published;
	__le64 overruns;
	__le64 change;
	__le32 last_id;
	__le64 moved;
} __attribute__((packed));

/**
 * struct nlbus_sys_topics - payload of $SYS/topics: topics are new, moved or gone
 * @last_id: the newest topic's id; several new topics may make one event
 * @moved: topics that all such events of the bus named, these included: who
 *         knows less by more than @count missed some, and looks at all of his
 * @count: topics that follow, each a &struct nlbus_sys_topic
 *
 * It has no names, so it tells nobody of topics he may not read: ask for those
 * above the last known id with NLBUS_TOPIC_OP_LIST, for others by ID.
 */
struct nlbus_sys_topics {
	__le32 last_id;
	__le64 moved;
	__le64 count;
} __attribute__((packed));

/**
 * struct nlbus_sys_topic - a topic that was deleted, or may have another group
 * @id: its id
 * @end: 0: its mode or owner changed; otherwise it was deleted, and this number
 *       would have been the next
 */
struct nlbus_sys_topic {
	__le32 id;
	__le64 end;
} __attribute__((packed));

/**
 * struct nlbus_sys_clients - payload of $SYS/clients: clients came or went
 * @joined: clients that came since the bus began, these included
 * @left: clients that went, likewise
 * @count: comings and goings that follow, each a &struct nlbus_sys_client
 *
 * Several share one event: there is one in 20 ms at most, or a few where more than
 * 256 came and went. A client is a socket that sent something to the broker.
 */
struct nlbus_sys_clients {
	__le64 joined;
	__le64 left;
	__le64 count;
} __attribute__((packed));

/**
 * struct nlbus_sys_client - a client that came or went
 * @portid: its port id
 * @pid: its process, as of an event
 * @uid: its user, as of an event
 * @left: 0: it came; 1: it went
 */
struct nlbus_sys_client {
	__le32 portid;
	__le32 pid;
	__le32 uid;
	__u8 left;
} __attribute__((packed));

#endif /* _UAPI_LINUX_NLBUS_H */

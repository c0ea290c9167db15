/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Clients: the sockets that ever sent to the bus, by port id.
 */
#ifndef _NLBUS_CLIENT_H
#define _NLBUS_CLIENT_H

#include <linux/list.h>
#include <linux/types.h>
#include <linux/xarray.h>

struct nlbus_bus;
struct nlbus_sys_client;
struct nlbus_will;
struct sk_buff;

/* Clients that are known again without a look-up. */
#define NLBUS_CLIENTS_RECENT	16

/**
 * struct nlbus_client - a socket that sent to the bus
 * @link: in &nlbus_clients.gone or .news
 * @sk: the socket, with a reference
 * @will: its last will, or NULL; set under &nlbus_topics.lock
 * @portid: port id
 * @pid: tgid in the initial namespace of who first sent
 * @uid: his user id, as seen in the bus's user namespace
 * @told: it was said that it came
 * @left: it was closed
 */
struct nlbus_client {
	struct list_head link;
	struct sock *sk;
	struct nlbus_will *will;
	u32 portid;
	u32 pid;
	u32 uid;
	bool told;
	bool left;
};

/**
 * struct nlbus_clients - all clients of a bus
 * @by_port: clients by port id; its lock guards all that follows but @recent
 * @gone: those that were closed since the bus thread last looked
 * @news: those of which something is to be told
 * @count: how many there are
 * @untold: how many @news there are
 * @told_joined: how many it was told of that they came
 * @told_left: how many it was told of that they went
 * @recent: of the sockets, the one of each slot that last sent, or NULL
 */
struct nlbus_clients {
	struct xarray by_port;
	struct list_head gone;
	struct list_head news;
	u32 count;
	u32 untold;
	u64 told_joined;
	u64 told_left;
	struct sock *recent[NLBUS_CLIENTS_RECENT];
};

int nlbus_clients_register(void);
void nlbus_clients_unregister(void);
void nlbus_clients_init(struct nlbus_clients *clients);
void nlbus_clients_free(struct nlbus_clients *clients);
int nlbus_client_note(struct nlbus_bus *bus, const struct sk_buff *skb);
struct nlbus_will *nlbus_client_will(struct nlbus_clients *clients,
				     const struct sk_buff *skb);
void nlbus_client_set_will(struct nlbus_clients *clients,
			   const struct sk_buff *skb, struct nlbus_will *will);
void nlbus_clients_bury(struct nlbus_clients *clients, struct list_head *due);
u32 nlbus_clients_tell(struct nlbus_clients *clients,
		       struct nlbus_sys_client *told, u32 most, u64 *joined,
		       u64 *left);
void nlbus_client_shut(const struct sk_buff *skb);
void nlbus_clients_shut(struct nlbus_clients *clients);

/* Whether some are gone, which the bus thread hasn't looked at. */
static inline bool nlbus_clients_any_gone(const struct nlbus_clients *clients)
{
	return !list_empty_careful(&clients->gone);
}

/* Whether there is something to tell. */
static inline bool nlbus_clients_any_news(const struct nlbus_clients *clients)
{
	return !list_empty_careful(&clients->news);
}

#endif /* _NLBUS_CLIENT_H */

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Clients: the sockets that ever sent to the bus, by port id.
 */
#ifndef _NLBUS_CLIENT_H
#define _NLBUS_CLIENT_H

#include <linux/types.h>
#include <linux/xarray.h>

struct nlbus_bus;
struct sk_buff;

/* Clients that are known again without a look-up. */
#define NLBUS_CLIENTS_RECENT	16

/**
 * struct nlbus_clients - all clients of a bus
 * @by_port: sockets by port id, each with a reference
 * @recent: of these, the one of each slot that last sent, or NULL
 */
struct nlbus_clients {
	struct xarray by_port;
	struct sock *recent[NLBUS_CLIENTS_RECENT];
};

int nlbus_clients_register(void);
void nlbus_clients_unregister(void);
void nlbus_clients_init(struct nlbus_clients *clients);
int nlbus_client_note(struct nlbus_clients *clients, const struct sk_buff *skb);
void nlbus_client_shut(const struct sk_buff *skb);
void nlbus_clients_shut(struct nlbus_clients *clients);

#endif /* _NLBUS_CLIENT_H */

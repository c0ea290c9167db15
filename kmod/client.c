// SPDX-License-Identifier: GPL-2.0
/*
 * Clients, so that those who follow nothing can be told of the module's end.
 * Membership of a group would do that, too, but each broadcast passes all
 * members of all groups: then idle clients would slow everybody down.
 */
#include <linux/errno.h>
#include <linux/hash.h>
#include <linux/log2.h>
#include <linux/netlink.h>
#include <linux/notifier.h>
#include <linux/sched.h>
#include <linux/skbuff.h>
#include <net/sock.h>

#include "bus.h"
#include "client.h"
#include "params.h"

/**
 * nlbus_clients_init() - make an empty set
 * @clients: the set
 */
void nlbus_clients_init(struct nlbus_clients *clients)
{
	xa_init_flags(&clients->by_port, XA_FLAGS_ACCOUNT);
}

static struct sock **nlbus_client_slot(struct nlbus_clients *clients,
				       const struct sock *sk)
{
	return &clients->recent[hash_ptr(sk, ilog2(NLBUS_CLIENTS_RECENT))];
}

/* Lets go of a socket that was closed. No more of it comes in, so it doesn't get
 * into its slot again, and who has its address next finds it empty.
 */
static void nlbus_client_forget(struct nlbus_clients *clients, struct sock *sk)
{
	cmpxchg(nlbus_client_slot(clients, sk), sk, NULL);
	sock_put(sk);
}

/**
 * nlbus_client_note() - remember who sends a datagram
 * @clients: the set
 * @skb: the datagram, in the task that sent it
 *
 * Return: 0 or -ENOMEM.
 */
int nlbus_client_note(struct nlbus_clients *clients, const struct sk_buff *skb)
{
	u32 portid = NETLINK_CB(skb).portid;
	struct sock *sk = NETLINK_CB(skb).sk;
	struct sock **slot = nlbus_client_slot(clients, sk);
	void *old;

	if (READ_ONCE(*slot) == sk)
		return 0;
	/* The entry has a reference, so no other socket has that address. */
	if (xa_load(&clients->by_port, portid) == sk)
		goto recent;

	sock_hold(sk);
	old = xa_store(&clients->by_port, portid, sk, GFP_KERNEL_ACCOUNT);
	if (xa_is_err(old)) {
		sock_put(sk);
		return xa_err(old);
	}
	/* Closed, but not let go of yet: see nlbus_clients_notify(). */
	if (old)
		nlbus_client_forget(clients, old);
recent:
	WRITE_ONCE(*slot, sk);
	return 0;
}

static void nlbus_client_report(struct sock *sk)
{
	sk->sk_err = ESHUTDOWN;
	sk_error_report(sk);
}

/**
 * nlbus_client_shut() - tell who sends a datagram that the bus is closed
 * @skb: the datagram, in the task that sent it
 */
void nlbus_client_shut(const struct sk_buff *skb)
{
	nlbus_client_report(NETLINK_CB(skb).sk);
}

/**
 * nlbus_clients_shut() - tell all clients that the bus is closed
 * @clients: the set; may sleep
 */
void nlbus_clients_shut(struct nlbus_clients *clients)
{
	unsigned long portid = 0;
	struct sock *sk;

	for (;;) {
		xa_lock(&clients->by_port);
		sk = xa_find(&clients->by_port, &portid, ULONG_MAX, XA_PRESENT);
		if (sk)
			sock_hold(sk);
		xa_unlock(&clients->by_port);
		if (!sk)
			return;
		nlbus_client_report(sk);
		sock_put(sk);
		portid++;
		cond_resched();
	}
}

/* A socket was closed. Its port id is free already and may be another one's by
 * now, so only what is dead is let go of; nothing here allocates or waits, as
 * sockets of all protocols come this way.
 */
static int nlbus_clients_notify(struct notifier_block *block,
				unsigned long event, void *data)
{
	const struct netlink_notify *notify = data;
	struct nlbus_bus *bus;
	struct sock *sk;

	if (event != NETLINK_URELEASE ||
	    notify->protocol != nlbus_params.protocol)
		return NOTIFY_DONE;
	bus = nlbus_bus_get(notify->net);
	if (!bus)
		return NOTIFY_DONE;

	xa_lock(&bus->clients.by_port);
	sk = xa_load(&bus->clients.by_port, notify->portid);
	if (sk && sock_flag(sk, SOCK_DEAD))
		__xa_erase(&bus->clients.by_port, notify->portid);
	else
		sk = NULL;
	xa_unlock(&bus->clients.by_port);
	if (sk)
		nlbus_client_forget(&bus->clients, sk);
	return NOTIFY_DONE;
}

static struct notifier_block nlbus_clients_notifier = {
	.notifier_call = nlbus_clients_notify,
};

/**
 * nlbus_clients_register() - learn of sockets that are closed
 *
 * Return: 0 or a negative errno of netlink_register_notifier().
 */
int nlbus_clients_register(void)
{
	return netlink_register_notifier(&nlbus_clients_notifier);
}

/**
 * nlbus_clients_unregister() - learn of them no more
 */
void nlbus_clients_unregister(void)
{
	netlink_unregister_notifier(&nlbus_clients_notifier);
}

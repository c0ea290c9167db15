// SPDX-License-Identifier: GPL-2.0
/*
 * Clients, so that their last wills are published when they go, and those who
 * follow nothing can be told of the module's end. Membership of a group would do
 * for that, but each broadcast passes all members of all groups: then idle clients
 * would slow everybody down.
 */
#include <linux/errno.h>
#include <linux/hash.h>
#include <linux/log2.h>
#include <linux/netlink.h>
#include <linux/notifier.h>
#include <linux/sched.h>
#include <linux/skbuff.h>
#include <linux/slab.h>
#include <net/net_namespace.h>
#include <net/sock.h>
#include <uapi/linux/nlbus.h>

#include "bus.h"
#include "client.h"
#include "params.h"
#include "will.h"

/**
 * nlbus_clients_init() - make an empty set
 * @clients: the set
 */
void nlbus_clients_init(struct nlbus_clients *clients)
{
	xa_init_flags(&clients->by_port, XA_FLAGS_ACCOUNT);
	INIT_LIST_HEAD(&clients->gone);
	INIT_LIST_HEAD(&clients->news);
}

static struct sock **nlbus_client_slot(struct nlbus_clients *clients,
				       const struct sock *sk)
{
	return &clients->recent[hash_ptr(sk, ilog2(NLBUS_CLIENTS_RECENT))];
}

/* Has something told of a client, of which nothing is to be told yet; under the lock. */
static void nlbus_client_add_news(struct nlbus_clients *clients,
				  struct nlbus_client *client)
{
	list_add_tail(&client->link, &clients->news);
	WRITE_ONCE(clients->untold, clients->untold + 1);
}

/* Undoes that, if there is something to be told; under the lock. */
static void nlbus_client_del_news(struct nlbus_clients *clients,
				  struct nlbus_client *client)
{
	if (list_empty(&client->link))
		return;
	list_del_init(&client->link);
	WRITE_ONCE(clients->untold, clients->untold - 1);
}

/* Has the bus thread see that a client was closed; under the lock. No more of its
 * socket comes in, so it doesn't get into its slot again, and who has its address
 * next finds it empty.
 */
static void nlbus_client_leave(struct nlbus_clients *clients,
			       struct nlbus_client *client)
{
	cmpxchg(nlbus_client_slot(clients, client->sk), client->sk, NULL);
	client->left = true;
	clients->count--;
	nlbus_client_del_news(clients, client);
	list_add_tail(&client->link, &clients->gone);
}

static void nlbus_client_free(struct nlbus_client *client)
{
	nlbus_will_free(client->will);
	sock_put(client->sk);
	kfree(client);
}

static void nlbus_clients_free_list(struct list_head *list)
{
	struct nlbus_client *client, *next;

	list_for_each_entry_safe(client, next, list, link)
		nlbus_client_free(client);
	INIT_LIST_HEAD(list);
}

/**
 * nlbus_clients_free() - let go of all clients
 * @clients: the set, of a namespace without sockets
 */
void nlbus_clients_free(struct nlbus_clients *clients)
{
	nlbus_clients_free_list(&clients->gone);
	nlbus_clients_free_list(&clients->news);
	xa_destroy(&clients->by_port);
}

static struct nlbus_client *nlbus_client_new(const struct nlbus_bus *bus,
					     const struct sk_buff *skb)
{
	struct nlbus_client *client;

	client = kzalloc(sizeof(*client), GFP_KERNEL_ACCOUNT);
	if (!client)
		return NULL;
	INIT_LIST_HEAD(&client->link);
	client->sk = NETLINK_CB(skb).sk;
	sock_hold(client->sk);
	client->portid = NETLINK_CB(skb).portid;
	client->pid = task_tgid_nr(current);
	client->uid = from_kuid_munged(bus->net->user_ns, current_uid());
	return client;
}

/* Adds a client, unless another task did with the same socket. */
static int nlbus_client_add(struct nlbus_clients *clients,
			    struct nlbus_client *client)
{
	struct nlbus_client *old;

	/* The lock must not be dropped below, so no memory is waited for there. */
	if (xa_reserve(&clients->by_port, client->portid, GFP_KERNEL_ACCOUNT)) {
		nlbus_client_free(client);
		return -ENOMEM;
	}
	xa_lock(&clients->by_port);
	old = xa_load(&clients->by_port, client->portid);
	if (old && old->sk == client->sk) {
		xa_unlock(&clients->by_port);
		nlbus_client_free(client);
		return 0;
	}
	old = __xa_store(&clients->by_port, client->portid, client, GFP_ATOMIC);
	if (xa_is_err(old)) {
		xa_unlock(&clients->by_port);
		nlbus_client_free(client);
		return xa_err(old);
	}
	/* Closed, but not let go of yet: see nlbus_clients_notify(). */
	if (old)
		nlbus_client_leave(clients, old);
	clients->count++;
	nlbus_client_add_news(clients, client);
	xa_unlock(&clients->by_port);
	return 0;
}

/**
 * nlbus_client_note() - remember who sends a datagram
 * @bus: the bus
 * @skb: the datagram, in the task that sent it
 *
 * Return: 0 or -ENOMEM.
 */
int nlbus_client_note(struct nlbus_bus *bus, const struct sk_buff *skb)
{
	struct nlbus_clients *clients = &bus->clients;
	struct sock *sk = NETLINK_CB(skb).sk;
	struct sock **slot = nlbus_client_slot(clients, sk);
	struct nlbus_client *client;
	bool known;
	int err;

	if (READ_ONCE(*slot) == sk)
		return 0;
	/* The entry has a reference, so no other socket has that address. */
	xa_lock(&clients->by_port);
	client = xa_load(&clients->by_port, NETLINK_CB(skb).portid);
	known = client && client->sk == sk;
	xa_unlock(&clients->by_port);
	if (!known) {
		client = nlbus_client_new(bus, skb);
		err = client ? nlbus_client_add(clients, client) : -ENOMEM;
		if (err)
			return err;
		nlbus_queue_wake(&bus->queue);
	}
	WRITE_ONCE(*slot, sk);
	return 0;
}

/* The client that sends a datagram, which has been noted; under the lock. */
static struct nlbus_client *nlbus_client_of(struct nlbus_clients *clients,
					    const struct sk_buff *skb)
{
	return xa_load(&clients->by_port, NETLINK_CB(skb).portid);
}

/**
 * nlbus_client_will() - the last will of who sends a datagram
 * @clients: the set
 * @skb: the datagram, in the task that sent it, whose client has been noted
 *
 * Return: the will, which is there until another one is set; or NULL.
 */
struct nlbus_will *nlbus_client_will(struct nlbus_clients *clients,
				     const struct sk_buff *skb)
{
	struct nlbus_will *will;

	xa_lock(&clients->by_port);
	will = nlbus_client_of(clients, skb)->will;
	xa_unlock(&clients->by_port);
	return will;
}

/**
 * nlbus_client_set_will() - give who sends a datagram a last will
 * @clients: the set
 * @skb: the datagram, in the task that sent it, whose client has been noted
 * @will: the will, taken over, or NULL; the caller has the one before it
 */
void nlbus_client_set_will(struct nlbus_clients *clients,
			   const struct sk_buff *skb, struct nlbus_will *will)
{
	xa_lock(&clients->by_port);
	nlbus_client_of(clients, skb)->will = will;
	xa_unlock(&clients->by_port);
}

/**
 * nlbus_clients_bury() - see which clients are gone
 * @clients: the set, of whose bus the caller is the thread
 * @due: where to append their last wills
 */
void nlbus_clients_bury(struct nlbus_clients *clients, struct list_head *due)
{
	struct nlbus_client *client, *next;

	if (!nlbus_clients_any_gone(clients))
		return;
	xa_lock(&clients->by_port);
	list_for_each_entry_safe(client, next, &clients->gone, link) {
		if (client->will)
			list_add_tail(&client->will->link, due);
		client->will = NULL;
		list_del(&client->link);
		nlbus_client_add_news(clients, client);
	}
	xa_unlock(&clients->by_port);
}

/**
 * nlbus_clients_tell() - take what is to be told of clients
 * @clients: the set, of whose bus the caller is the thread
 * @told: filled in; or NULL if nobody is to be told any more
 * @most: how many comings and goings to take, at least 2
 * @joined: how many came, these included; filled in
 * @left: how many went, likewise
 *
 * Clients that were closed and have been told of are let go of.
 *
 * Return: how many comings and goings there are.
 */
u32 nlbus_clients_tell(struct nlbus_clients *clients,
		       struct nlbus_sys_client *told, u32 most, u64 *joined,
		       u64 *left)
{
	struct nlbus_client *client, *next;
	LIST_HEAD(done);
	u32 count = 0;

	xa_lock(&clients->by_port);
	list_for_each_entry_safe(client, next, &clients->news, link) {
		struct nlbus_sys_client entry = {
			.portid = cpu_to_le32(client->portid),
			.pid = cpu_to_le32(client->pid),
			.uid = cpu_to_le32(client->uid),
		};

		if (most - count < 2)
			break;
		if (!client->told) {
			if (told)
				told[count] = entry;
			count++;
			clients->told_joined++;
		}
		client->told = true;
		nlbus_client_del_news(clients, client);
		if (!client->left)
			continue;
		entry.left = 1;
		if (told)
			told[count] = entry;
		count++;
		clients->told_left++;
		list_add_tail(&client->link, &done);
	}
	*joined = clients->told_joined;
	*left = clients->told_left;
	xa_unlock(&clients->by_port);
	nlbus_clients_free_list(&done);
	return count;
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
	struct nlbus_client *client;
	struct sock *sk = NULL;

	for (;;) {
		xa_lock(&clients->by_port);
		client = xa_find(&clients->by_port, &portid, ULONG_MAX,
				 XA_PRESENT);
		if (client) {
			sk = client->sk;
			sock_hold(sk);
		}
		xa_unlock(&clients->by_port);
		if (!client)
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
	struct nlbus_client *client;
	struct nlbus_bus *bus;

	if (event != NETLINK_URELEASE ||
	    notify->protocol != nlbus_params.protocol)
		return NOTIFY_DONE;
	bus = nlbus_bus_get(notify->net);
	if (!bus)
		return NOTIFY_DONE;

	xa_lock(&bus->clients.by_port);
	client = xa_load(&bus->clients.by_port, notify->portid);
	if (client && sock_flag(client->sk, SOCK_DEAD)) {
		__xa_erase(&bus->clients.by_port, notify->portid);
		nlbus_client_leave(&bus->clients, client);
	} else {
		client = NULL;
	}
	xa_unlock(&bus->clients.by_port);
	if (client)
		nlbus_queue_wake(&bus->queue);
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

// SPDX-License-Identifier: GPL-2.0
/*
 * What clients send: a datagram is checked from front to back, then its
 * publishes are accepted all or none, then its requests are answered.
 *
 * All of this runs in the sender's task, inside sendmsg(), without locks. That
 * is where the sender's identity is taken from: not from NETLINK_CREDS(), into
 * which SCM_CREDENTIALS lets a namespace's root write what he likes. The
 * datagram is netlink's again when nlbus_input() returns.
 */
#include <linux/netlink.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/skbuff.h>
#include <net/net_namespace.h>
#include <net/netlink.h>
#include <net/sock.h>

#include "accept.h"
#include "answer.h"
#include "bus.h"
#include "check.h"
#include "client.h"
#include "input.h"
#include "refusal.h"
#include "reply.h"
#include "request.h"

/* Answers the requests of a datagram that was checked, each for itself. There
 * may be thousands, and each may look at all topics: so not on behalf of one who
 * is dead already.
 */
static noinline void nlbus_answer_all(struct nlbus_bus *bus,
				      struct sk_buff *skb,
				      struct nlbus_refusal *refusal)
{
	u32 portid = NETLINK_CB(skb).portid;
	struct nlbus_request request;
	const struct nlmsghdr *nlh = NULL;
	struct sk_buff *ack;

	while ((nlh = nlbus_message_next(skb, nlh))) {
		if (nlh->nlmsg_type == NLBUS_MSG_PUBLISH)
			continue;
		cond_resched();
		if (fatal_signal_pending(current))
			return;
		if (nlbus_request_check(nlh, &request, refusal) ||
		    nlbus_answer(bus, skb, nlh, &request, refusal)) {
			atomic64_inc(&bus->counters.refused);
			nlbus_refuse(bus->sk, portid, nlh, refusal);
			continue;
		}
		if (nlh->nlmsg_flags & NLM_F_ACK) {
			ack = nlbus_ack_new(nlh, false, GFP_KERNEL_ACCOUNT);
			if (ack)
				nlbus_reply_send(bus->sk, ack, portid);
		}
	}
}

/* Makes sure that there is a bus for the sender, and that it knows him. */
static int nlbus_admit(struct nlbus_bus *bus, const struct sk_buff *skb,
		       struct nlbus_refusal *refusal)
{
	int err;

	/* Known first: whoever isn't by the time the bus closes finds it retired. */
	err = nlbus_client_note(bus, skb);
	if (err)
		return nlbus_refusal_set(refusal, err,
					 "no memory for another client");
	smp_mb(); /* pairs with the lock in nlbus_clients_shut() */
	if (nlbus_bus_retired())
		return nlbus_refusal_set(refusal, -ESHUTDOWN,
					 "the module is retired");
	err = nlbus_bus_start(bus);
	if (err)
		return nlbus_refusal_set(refusal, err,
					 "the bus can't be started");
	return 0;
}

/**
 * nlbus_input() - take a datagram from a client
 * @skb: the datagram, linear; netlink's again afterwards, if only to be dropped:
 *       see nlbus_direct_lone()
 */
void nlbus_input(struct sk_buff *skb)
{
	struct nlbus_bus *bus = nlbus_bus_get(sock_net(skb->sk));
	struct nlbus_datagram datagram = { .skb = skb };
	struct nlbus_refusal refusal = {};
	const struct nlmsghdr *bad;
	int err;

	if (!bus) {
		nlbus_refusal_set(&refusal, -ENODEV,
				  "the module is being loaded or removed");
		bad = skb->len >= NLMSG_HDRLEN ? nlbus_message_at(skb, 0) : NULL;
		nlbus_refuse(skb->sk, NETLINK_CB(skb).portid, bad, &refusal);
		return;
	}

	err = nlbus_datagram_check(&datagram, &bus->topics, &refusal);
	bad = datagram.bad;
	if (!err) {
		err = nlbus_admit(bus, skb, &refusal);
		bad = nlbus_message_at(skb, 0);
	}
	if (!err && datagram.publishes) {
		err = nlbus_accept(bus, &datagram, &refusal);
		bad = datagram.bad;
	}
	if (err) {
		atomic64_inc(&bus->counters.refused);
		nlbus_refuse(bus->sk, NETLINK_CB(skb).portid, bad, &refusal);
		/* Last: the error is read before the answer. */
		if (err == -ESHUTDOWN)
			nlbus_client_shut(skb);
		return;
	}
	if (datagram.requests)
		nlbus_answer_all(bus, skb, &refusal);
}

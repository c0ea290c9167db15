// SPDX-License-Identifier: GPL-2.0
/*
 * NLMSG_ERROR, built here and not by netlink_ack(): that one looks at the
 * sender's socket, which the bus thread holds no reference to, and at the
 * options set on it, while these are always capped and always explained.
 */
#include <linux/netlink.h>
#include <linux/skbuff.h>
#include <linux/slab.h>
#include <linux/socket.h>
#include <net/netlink.h>

#include "refusal.h"
#include "reply.h"
#include "run.h"
#include "topic.h"

/**
 * nlbus_refusal_set() - say why something is refused
 * @refusal: filled in, which may sleep; NULL if nobody is to be told
 * @err: negative errno
 * @format: the sentence, as printf() has it
 *
 * Return: @err.
 */
int nlbus_refusal_set(struct nlbus_refusal *refusal, int err,
		      const char *format, ...)
{
	va_list args;

	if (!refusal)
		return err;
	kfree(refusal->text);
	va_start(args, format);
	refusal->text = kvasprintf(GFP_KERNEL_ACCOUNT, format, args);
	va_end(args);
	refusal->err = err;
	return err;
}

/* An NLMSG_ERROR to the message @to, with room for @room bytes of attributes.
 * It has the numbers of @to; zeros when that was too short for a header.
 */
static struct sk_buff *nlbus_error_new(const struct nlmsghdr *to, int err,
				       u16 flags, size_t room, gfp_t gfp)
{
	struct nlmsgerr *error;
	struct nlmsghdr *nlh;
	struct sk_buff *skb;

	skb = nlmsg_new(sizeof(*error) + room, gfp);
	if (!skb)
		return NULL;
	nlh = nlmsg_put(skb, to ? to->nlmsg_pid : 0, to ? to->nlmsg_seq : 0,
			NLMSG_ERROR, sizeof(*error), NLM_F_CAPPED | flags);
	if (!nlh) {
		nlmsg_free(skb);
		return NULL;
	}
	error = nlmsg_data(nlh);
	memset(error, 0, sizeof(*error));
	error->error = err;
	if (to)
		error->msg = *to;
	return skb;
}

/**
 * nlbus_ack_new() - prepare an ack
 * @to: what is acknowledged
 * @event: whether it is a publish, whose ack tells the sequence number
 * @gfp: how to allocate
 *
 * Return: the ack for nlbus_ack_send(), or NULL.
 */
struct sk_buff *nlbus_ack_new(const struct nlmsghdr *to, bool event, gfp_t gfp)
{
	struct sk_buff *skb;
	u64 seq = 0;

	if (!event)
		return nlbus_error_new(to, 0, 0, 0, gfp);

	skb = nlbus_error_new(to, 0, NLM_F_ACK_TLVS, nla_total_size(sizeof(seq)),
			      gfp);
	if (!skb)
		return NULL;
	nla_put(skb, NLMSGERR_ATTR_COOKIE, sizeof(seq), &seq);
	nlmsg_end(skb, nlmsg_hdr(skb));
	return skb;
}

/**
 * nlbus_ack_number() - have the ack of a publish tell the sequence number
 * @ack: made by nlbus_ack_new() for an event
 * @seq: the event's sequence number
 */
void nlbus_ack_number(struct sk_buff *ack, u64 seq)
{
	memcpy(skb_tail_pointer(ack) - sizeof(seq), &seq, sizeof(seq));
}

/**
 * nlbus_run_sent() - finish with events that were broadcast
 * @sk: the bus's socket
 * @run: the events; its reference is taken over. May sleep.
 *
 * Their ack, if one was asked for, comes after every subscriber's socket took the
 * events or counted a drop.
 */
void nlbus_run_sent(struct sock *sk, struct nlbus_run *run)
{
	struct nlbus_topic *topic = run->topic;
	struct sk_buff *ack = run->ack;

	/* It lives on in history, which its topic has, and not the other way round. */
	run->topic = NULL;
	nlbus_topic_put(topic);
	if (ack) {
		run->ack = NULL;
		nlbus_reply_send(sk, ack,
				 nlbus_event_hdr(nlbus_run_event(run))->portid);
	}
	nlbus_run_put(run);
}

/**
 * nlbus_run_sent_list() - finish with runs that were broadcast
 * @sk: the bus's socket
 * @runs: the runs; empty afterwards. May sleep.
 */
void nlbus_run_sent_list(struct sock *sk, struct list_head *runs)
{
	struct nlbus_run *run, *next;

	list_for_each_entry_safe(run, next, runs, link)
		nlbus_run_sent(sk, run);
	INIT_LIST_HEAD(runs);
}

/**
 * nlbus_reply_send() - send an answer
 * @sk: the bus's socket
 * @skb: the answer; used up
 * @portid: whom to
 *
 * Never waits: a client that doesn't read loses its answers, and its socket
 * says so (ENOBUFS).
 *
 * Return: whether its socket took it.
 */
bool nlbus_reply_send(struct sock *sk, struct sk_buff *skb, u32 portid)
{
	return netlink_unicast(sk, skb, portid, MSG_DONTWAIT) >= 0;
}

/**
 * nlbus_refuse() - send a refusal
 * @sk: the bus's socket
 * @portid: whom to
 * @to: what is refused; NULL when it was too short for a header
 * @refusal: why; empty afterwards
 *
 * May sleep. Without memory for the answer there is none: a client that gets
 * none in time can't know what became of its message.
 */
void nlbus_refuse(struct sock *sk, u32 portid, const struct nlmsghdr *to,
		  struct nlbus_refusal *refusal)
{
	size_t len = refusal->text ? strlen(refusal->text) + 1 : 0;
	struct sk_buff *skb;

	skb = nlbus_error_new(to, refusal->err, len ? NLM_F_ACK_TLVS : 0,
			      nla_total_size(len), GFP_KERNEL_ACCOUNT);
	if (skb) {
		if (len)
			nla_put(skb, NLMSGERR_ATTR_MSG, len, refusal->text);
		nlmsg_end(skb, nlmsg_hdr(skb));
		nlbus_reply_send(sk, skb, portid);
	}
	kfree(refusal->text);
	refusal->text = NULL;
}

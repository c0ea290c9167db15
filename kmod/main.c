// SPDX-License-Identifier: GPL-2.0
/*
 * nlbus: a publish/subscribe event bus, carried by netlink.
 *
 * An event comes in through input.c, in its publisher's task, is checked
 * (check.c), and finds the bus idle, or waits in queue.c. So it is either its
 * publisher (direct.c) or the bus thread (bus.c), whoever owns the bus, which
 * gives it its number (history.c) and broadcasts it (pack.c). Requests are
 * checked in request.c and answered in answer.c. Constants and structures that
 * processes see are in include/uapi/linux/nlbus.h; which error answers what is
 * in docs/PROTOCOL.md.
 *
 * No MODULE_ALIAS for the protocol or the family: they would let any process
 * load the module.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/errno.h>
#include <linux/module.h>
#include <linux/netlink.h>
#include <linux/skbuff.h>
#include <linux/sizes.h>
#include <uapi/linux/nlbus.h>

#include "account.h"
#include "bus.h"
#include "client.h"
#include "genl.h"
#include "params.h"

/* A quarter of the memory that the smallest address space has for the kernel. */
#define NLBUS_HISTORY_MAX	(BITS_PER_LONG == 64 ? 1UL << 40 : 1UL << 28)

/* Protocol numbers below are, or were, those of Linux itself. */
#define NLBUS_PROTOCOL_MIN	(NETLINK_SMC + 1)

/* Until it is known of how many. */
#define NLBUS_PART		UINT_MAX
#define NLBUS_PART_BYTES	ULONG_MAX

struct nlbus_params nlbus_params = {
	.protocol	= NLBUS_PROTOCOL,
	.groups		= NLBUS_GROUPS,
	.private_groups	= NLBUS_PART,
	.topics		= 16384,
	.pack		= SKB_WITH_OVERHEAD(16384),
	.heartbeat_ms	= 1000,
	.wills		= 4096,
	.queue		= SZ_4M,
	.history	= SZ_64M,
	.topic_history	= SZ_256K,
	.topic_mode	= NLBUS_TOPIC_MODE_MASK,
	.user_topics	= NLBUS_PART,
	.user_wills	= NLBUS_PART,
	.user_queue	= NLBUS_PART_BYTES,
	.user_history	= NLBUS_PART_BYTES,
	.user_private_groups = NLBUS_PART,
};

module_param_named(protocol, nlbus_params.protocol, uint, 0444);
MODULE_PARM_DESC(protocol, "netlink protocol (default 25)");
module_param_named(groups, nlbus_params.groups, uint, 0444);
MODULE_PARM_DESC(groups, "multicast groups, which topics share (default 1024)");
module_param_named(private_groups, nlbus_params.private_groups, uint, 0444);
MODULE_PARM_DESC(private_groups, "of these, those for topics that not everybody may read, each used once (default: half)");
module_param_named(topics, nlbus_params.topics, uint, 0444);
MODULE_PARM_DESC(topics, "topics on one bus (default 16384)");
module_param_named(pack, nlbus_params.pack, uint, 0444);
MODULE_PARM_DESC(pack, "bytes of a broadcast that several events share (default: what 16 KiB of memory hold)");
module_param_named(heartbeat_ms, nlbus_params.heartbeat_ms, uint, 0444);
MODULE_PARM_DESC(heartbeat_ms, "interval of $SYS/heartbeat, 0 = off (default 1000)");
module_param_named(wills, nlbus_params.wills, uint, 0444);
MODULE_PARM_DESC(wills, "last wills on one bus (default 4096)");
module_param_named(queue, nlbus_params.queue, ulong, 0444);
MODULE_PARM_DESC(queue, "bytes published and not yet sequenced, one eighth of it reserved for the kernel (default 4 MiB)");
module_param_named(history, nlbus_params.history, ulong, 0444);
MODULE_PARM_DESC(history, "bytes of all histories of one bus; each topic's newest event is kept beyond it (default 64 MiB)");
module_param_named(topic_history, nlbus_params.topic_history, ulong, 0444);
MODULE_PARM_DESC(topic_history, "bytes of one topic's history; its newest event is always kept (default 256 KiB)");
module_param_named(topic_mode, nlbus_params.topic_mode, uint, 0444);
MODULE_PARM_DESC(topic_mode, "mode of new topics, as chmod(2), read and write bits (default 0666)");
module_param_named(user_topics, nlbus_params.user_topics, uint, 0444);
MODULE_PARM_DESC(user_topics, "topics that one user may create, on all buses together (default: a quarter of topics)");
module_param_named(user_wills, nlbus_params.user_wills, uint, 0444);
MODULE_PARM_DESC(user_wills, "last wills that one user may leave, on all buses together (default: a quarter of wills)");
module_param_named(user_queue, nlbus_params.user_queue, ulong, 0444);
MODULE_PARM_DESC(user_queue, "bytes that one user may have published and not yet sequenced, on all buses together (default: a quarter of queue)");
module_param_named(user_history, nlbus_params.user_history, ulong, 0444);
MODULE_PARM_DESC(user_history, "bytes of the histories of topics that one user created, on all buses together (default: a quarter of history)");
module_param_named(user_private_groups, nlbus_params.user_private_groups, uint, 0444);
MODULE_PARM_DESC(user_private_groups, "private groups that one user may use up on one bus (default: a quarter of private_groups)");

static int __init nlbus_check(const char *name, unsigned long value,
			      unsigned long min, unsigned long max)
{
	if (value >= min && value <= max)
		return 0;
	pr_err("%s=%lu: must be %lu to %lu\n", name, value, min, max);
	return -EINVAL;
}

static int __init nlbus_check_mode(unsigned int mode)
{
	if (!(mode & ~NLBUS_TOPIC_MODE_MASK))
		return 0;
	pr_err("topic_mode=%#o: must be of the bits %#o\n", mode,
	       NLBUS_TOPIC_MODE_MASK);
	return -EINVAL;
}

static void __init nlbus_default_params(struct nlbus_params *params)
{
	if (params->private_groups == NLBUS_PART)
		params->private_groups = params->groups / 2;
	if (params->user_topics == NLBUS_PART)
		params->user_topics = max(params->topics / 4, 1U);
	if (params->user_wills == NLBUS_PART)
		params->user_wills = params->wills / 4;
	if (params->user_queue == NLBUS_PART_BYTES)
		params->user_queue = max(params->queue / 4, NLBUS_QUEUE_MIN);
	if (params->user_history == NLBUS_PART_BYTES)
		params->user_history = params->history / 4;
	if (params->user_private_groups == NLBUS_PART)
		params->user_private_groups =
			max(params->private_groups / 4, 1U);
}

static int __init nlbus_check_params(void)
{
	struct nlbus_params *params = &nlbus_params;

	nlbus_default_params(params);
	if (nlbus_check("protocol", params->protocol, NLBUS_PROTOCOL_MIN,
			MAX_LINKS - 1) ||
	    nlbus_check("groups", params->groups, 32, 8192) ||
	    nlbus_check("private_groups", params->private_groups, 1,
			params->groups - NLBUS_GROUP_FIRST) ||
	    nlbus_check("topics", params->topics, 8, SZ_1M) ||
	    nlbus_check("pack", params->pack, 1024, SKB_WITH_OVERHEAD(32768)) ||
	    nlbus_check("heartbeat_ms", params->heartbeat_ms, 0, 3600000) ||
	    nlbus_check("wills", params->wills, 0, SZ_1M) ||
	    nlbus_check("queue", params->queue, NLBUS_QUEUE_MIN, SZ_1G) ||
	    nlbus_check("history", params->history, 0, NLBUS_HISTORY_MAX) ||
	    nlbus_check("topic_history", params->topic_history, 0, SZ_1G) ||
	    nlbus_check("user_topics", params->user_topics, 1,
			params->topics) ||
	    nlbus_check("user_wills", params->user_wills, 0,
			params->wills) ||
	    nlbus_check("user_queue", params->user_queue, NLBUS_QUEUE_MIN,
			params->queue) ||
	    nlbus_check("user_history", params->user_history, 0,
			params->history) ||
	    nlbus_check("user_private_groups", params->user_private_groups, 1,
			params->private_groups) ||
	    nlbus_check_mode(params->topic_mode))
		return -EINVAL;
	return 0;
}

static int __init nlbus_init(void)
{
	int err;

	err = nlbus_check_params();
	if (err)
		return err;
	nlbus_accounts_init();
	err = nlbus_genl_register();
	if (err)
		return err;
	err = nlbus_clients_register();
	if (err)
		goto unregister_genl;
	/* Last: from here on sockets can be opened, and each caches the address
	 * of the bind callback.
	 */
	err = nlbus_bus_register();
	if (err)
		goto unregister_clients;
	return 0;

unregister_clients:
	nlbus_clients_unregister();
unregister_genl:
	nlbus_genl_unregister();
	return err;
}

/* Only without sockets: each holds a reference to the module. */
static void __exit nlbus_exit(void)
{
	nlbus_genl_unregister();
	nlbus_bus_unregister();
	nlbus_clients_unregister();
}

module_init(nlbus_init);
module_exit(nlbus_exit);

MODULE_LICENSE("GPL");
MODULE_AUTHOR("The nlbus authors");
MODULE_DESCRIPTION("Publish/subscribe event bus over netlink");
MODULE_VERSION(NLBUS_MODULE_VERSION);

// SPDX-License-Identifier: GPL-2.0
/*
 * The generic netlink family by which clients find the bus: protocol numbers
 * can collide and are never guessed, names can't.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/capability.h>
#include <linux/errno.h>
#include <linux/netlink.h>
#include <linux/sched.h>
#include <net/genetlink.h>
#include <uapi/linux/nlbus.h>

#include "bus.h"
#include "genl.h"
#include "info.h"

static int nlbus_genl_info(struct sk_buff *request, struct genl_info *info);
static int nlbus_genl_retire(struct sk_buff *request, struct genl_info *info);

static const struct genl_small_ops nlbus_genl_ops[] = {
	{
		.cmd	= NLBUS_CMD_INFO,
		.doit	= nlbus_genl_info,
	},
	{
		.cmd	= NLBUS_CMD_RETIRE,
		.doit	= nlbus_genl_retire,
	},
};

static struct genl_family nlbus_genl_family = {
	.name		= NLBUS_GENL_NAME,
	.version	= NLBUS_GENL_VERSION,
	.netnsok	= true,
	.module		= THIS_MODULE,
	.small_ops	= nlbus_genl_ops,
	.n_small_ops	= ARRAY_SIZE(nlbus_genl_ops),
};

/* Doesn't start the bus: who only looks costs the namespace nothing. */
static int nlbus_genl_info(struct sk_buff *request, struct genl_info *info)
{
	struct nlbus_bus *bus = nlbus_bus_get(genl_info_net(info));
	struct sk_buff *skb;
	void *header;

	if (!bus)
		return -ENODEV;
	if (nlbus_bus_retired()) {
		GENL_SET_ERR_MSG(info, "the module is retired");
		return -ESHUTDOWN;
	}
	skb = genlmsg_new(NLBUS_INFO_LEN, GFP_KERNEL);
	if (!skb)
		return -ENOMEM;
	header = genlmsg_put_reply(skb, info, &nlbus_genl_family, 0,
				   NLBUS_CMD_INFO);
	if (!header || nlbus_info_put(skb, bus)) {
		nlmsg_free(skb);
		return -EMSGSIZE;
	}
	genlmsg_end(skb, header);
	return genlmsg_reply(skb, info);
}

/* For all namespaces, so it takes what removing the module takes; and of the
 * socket's opener as well, because a privileged program can be made to write to
 * a descriptor that it inherited.
 */
static int nlbus_genl_retire(struct sk_buff *request, struct genl_info *info)
{
	if (!netlink_capable(request, CAP_SYS_MODULE)) {
		GENL_SET_ERR_MSG(info, "retiring takes CAP_SYS_MODULE, of the socket's opener too");
		return -EPERM;
	}
	if (!nlbus_bus_get(genl_info_net(info)))
		return -ENODEV;
	if (!nlbus_bus_retired())
		pr_info("retired by process %d (%s)\n", task_tgid_nr(current),
			current->comm);
	nlbus_bus_retire();
	return 0;
}

/**
 * nlbus_genl_register() - let the bus be found
 *
 * Before the buses are there it answers ENODEV.
 *
 * Return: 0 or a negative errno of genl_register_family().
 */
int nlbus_genl_register(void)
{
	return genl_register_family(&nlbus_genl_family);
}

/**
 * nlbus_genl_unregister() - let it be found no more
 */
void nlbus_genl_unregister(void)
{
	genl_unregister_family(&nlbus_genl_family);
}

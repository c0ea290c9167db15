// SPDX-License-Identifier: GPL-2.0
/*
 * A publisher in the kernel: what happens to the host, as topics. Each notifier makes
 * a packed structure and publishes it; all of the work is in one line each.
 */
#include <linux/cpuhotplug.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/netdevice.h>
#include <linux/nlbus.h>
#include <linux/notifier.h>
#include <linux/oom.h>
#include <linux/reboot.h>
#include <linux/string.h>
#include <net/net_namespace.h>
#include <uapi/linux/nlbus_events.h>

static_assert(IFNAMSIZ <= NLBUS_LINK_NAME);
static_assert(MODULE_NAME_LEN <= NLBUS_MODULE_NAME);

/* Whether it was dropped the bus counts, and subscribers see. */
#define nlbus_events_publish(net, topic, event) \
	nlbus_publish(net, topic, &(event), sizeof(event), \
		      NLBUS_CONTENT_BINCODE)

static int nlbus_events_link(struct notifier_block *block, unsigned long what,
			     void *data)
{
	const struct net_device *dev = netdev_notifier_info_to_dev(data);
	struct nlbus_link_event event = {
		.ifindex = cpu_to_le32(dev->ifindex),
		.flags = cpu_to_le32(READ_ONCE(dev->flags)),
		.mtu = cpu_to_le32(dev->mtu),
	};

	switch (what) {
	case NETDEV_REGISTER:
		event.action = cpu_to_le32(NLBUS_LINK_ADDED);
		break;
	case NETDEV_UNREGISTER:
		event.action = cpu_to_le32(NLBUS_LINK_REMOVED);
		break;
	case NETDEV_UP:
		event.action = cpu_to_le32(NLBUS_LINK_UP);
		break;
	case NETDEV_DOWN:
		event.action = cpu_to_le32(NLBUS_LINK_DOWN);
		break;
	case NETDEV_CHANGENAME:
		event.action = cpu_to_le32(NLBUS_LINK_RENAMED);
		break;
	default:
		return NOTIFY_DONE;
	}
	memcpy(event.name, dev->name, strnlen(dev->name, IFNAMSIZ));
	nlbus_events_publish(dev_net(dev), NLBUS_EVENTS_LINK, event);
	return NOTIFY_DONE;
}

static int nlbus_events_module(struct notifier_block *block,
			       unsigned long what, void *data)
{
	const struct module *module = data;
	struct nlbus_module_event event = {};

	switch (what) {
	case MODULE_STATE_LIVE:
		event.action = cpu_to_le32(NLBUS_MODULE_LOADED);
		break;
	case MODULE_STATE_GOING:
		event.action = cpu_to_le32(NLBUS_MODULE_UNLOADING);
		break;
	default:
		return NOTIFY_DONE;
	}
	memcpy(event.name, module->name,
	       strnlen(module->name, MODULE_NAME_LEN));
	nlbus_events_publish(&init_net, NLBUS_EVENTS_MODULE, event);
	return NOTIFY_DONE;
}

static void nlbus_events_cpu(unsigned int cpu, bool online)
{
	struct nlbus_cpu_event event = {
		.cpu = cpu_to_le32(cpu),
		.online = online,
	};

	nlbus_events_publish(&init_net, NLBUS_EVENTS_CPU, event);
}

static int nlbus_events_cpu_online(unsigned int cpu)
{
	nlbus_events_cpu(cpu, true);
	return 0;
}

static int nlbus_events_cpu_offline(unsigned int cpu)
{
	nlbus_events_cpu(cpu, false);
	return 0;
}

static int nlbus_events_reboot(struct notifier_block *block,
			       unsigned long what, void *data)
{
	struct nlbus_reboot_event event = {};

	switch (what) {
	case SYS_RESTART:
		event.action = cpu_to_le32(NLBUS_REBOOT_RESTART);
		break;
	case SYS_HALT:
		event.action = cpu_to_le32(NLBUS_REBOOT_HALT);
		break;
	case SYS_POWER_OFF:
		event.action = cpu_to_le32(NLBUS_REBOOT_POWER_OFF);
		break;
	default:
		return NOTIFY_DONE;
	}
	nlbus_events_publish(&init_net, NLBUS_EVENTS_REBOOT, event);
	return NOTIFY_DONE;
}

/* Frees nothing, so the kernel goes on to kill. */
static int nlbus_events_oom(struct notifier_block *block, unsigned long what,
			    void *freed)
{
	struct nlbus_oom_event event = {
		.free_bytes = cpu_to_le64((u64)global_zone_page_state(NR_FREE_PAGES) <<
					  PAGE_SHIFT),
		.total_bytes = cpu_to_le64((u64)totalram_pages() << PAGE_SHIFT),
	};

	nlbus_events_publish(&init_net, NLBUS_EVENTS_OOM, event);
	return NOTIFY_OK;
}

static struct notifier_block nlbus_events_link_block = {
	.notifier_call = nlbus_events_link,
};

static struct notifier_block nlbus_events_module_block = {
	.notifier_call = nlbus_events_module,
};

static struct notifier_block nlbus_events_reboot_block = {
	.notifier_call = nlbus_events_reboot,
};

static struct notifier_block nlbus_events_oom_block = {
	.notifier_call = nlbus_events_oom,
};

static enum cpuhp_state nlbus_events_cpu_state;

static int __init nlbus_events_init(void)
{
	int err;

	/* Those that are there already are told of as new. */
	err = register_netdevice_notifier(&nlbus_events_link_block);
	if (err)
		return err;
	err = cpuhp_setup_state_nocalls(CPUHP_AP_ONLINE_DYN, "nlbus:events",
					nlbus_events_cpu_online,
					nlbus_events_cpu_offline);
	if (err < 0)
		goto unregister_link;
	nlbus_events_cpu_state = err;
	err = register_reboot_notifier(&nlbus_events_reboot_block);
	if (err)
		goto remove_cpu;
	err = register_oom_notifier(&nlbus_events_oom_block);
	if (err)
		goto unregister_reboot;
	err = register_module_notifier(&nlbus_events_module_block);
	if (err)
		goto unregister_oom;
	return 0;

unregister_oom:
	unregister_oom_notifier(&nlbus_events_oom_block);
unregister_reboot:
	unregister_reboot_notifier(&nlbus_events_reboot_block);
remove_cpu:
	cpuhp_remove_state_nocalls(nlbus_events_cpu_state);
unregister_link:
	unregister_netdevice_notifier(&nlbus_events_link_block);
	return err;
}

static void __exit nlbus_events_exit(void)
{
	unregister_module_notifier(&nlbus_events_module_block);
	unregister_oom_notifier(&nlbus_events_oom_block);
	unregister_reboot_notifier(&nlbus_events_reboot_block);
	cpuhp_remove_state_nocalls(nlbus_events_cpu_state);
	unregister_netdevice_notifier(&nlbus_events_link_block);
}

module_init(nlbus_events_init);
module_exit(nlbus_events_exit);

MODULE_LICENSE("GPL");
MODULE_AUTHOR("The nlbus authors");
MODULE_DESCRIPTION("What happens to the host, as topics of nlbus");

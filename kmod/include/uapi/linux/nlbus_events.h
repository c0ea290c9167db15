/* SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR MIT */
/*
 * What nlbus_events.ko publishes: each event is one of these structures, packed and
 * little-endian, so it is a bincode value, too (NLBUS_CONTENT_BINCODE). Names are
 * padded with zeros. The library has the same as Rust types: nlbus::kernel.
 */
#ifndef _UAPI_LINUX_NLBUS_EVENTS_H
#define _UAPI_LINUX_NLBUS_EVENTS_H

#include <linux/types.h>

/* On the bus of the initial network namespace, but for links: those are on the bus
 * of the namespace that they are in.
 */
#define NLBUS_EVENTS_LINK	"kernel/link"	/* struct nlbus_link_event */
#define NLBUS_EVENTS_MODULE	"kernel/module"	/* struct nlbus_module_event */
#define NLBUS_EVENTS_CPU	"kernel/cpu"	/* struct nlbus_cpu_event */
#define NLBUS_EVENTS_REBOOT	"kernel/reboot"	/* struct nlbus_reboot_event */
#define NLBUS_EVENTS_OOM	"kernel/oom"	/* struct nlbus_oom_event */

#define NLBUS_LINK_NAME		16	/* IFNAMSIZ */
#define NLBUS_MODULE_NAME	64	/* MODULE_NAME_LEN at most */

enum nlbus_link_action {
	NLBUS_LINK_ADDED	= 1,
	NLBUS_LINK_REMOVED	= 2,
	NLBUS_LINK_UP		= 3,
	NLBUS_LINK_DOWN		= 4,
	NLBUS_LINK_RENAMED	= 5,	/* the name is the new one */
};

/**
 * struct nlbus_link_event - a network device appeared, changed or is gone
 * @ifindex: its index, which it keeps while it is in this namespace
 * @flags: IFF_* of linux/if.h that were set on it (dev->flags), behind the change
 * @mtu: bytes
 * @action: enum nlbus_link_action
 * @name: its name
 */
struct nlbus_link_event {
	__le32 ifindex;
	__le32 flags;
	__le32 mtu;
	__le32 action;
	__u8 name[NLBUS_LINK_NAME];
} __attribute__((packed));

enum nlbus_module_action {
	NLBUS_MODULE_LOADED	= 1,	/* its init function has returned */
	NLBUS_MODULE_UNLOADING	= 2,	/* its exit function is done */
};

/**
 * struct nlbus_module_event - a kernel module was loaded or is unloaded
 * @action: enum nlbus_module_action
 * @name: its name
 */
struct nlbus_module_event {
	__le32 action;
	__u8 name[NLBUS_MODULE_NAME];
} __attribute__((packed));

/**
 * struct nlbus_cpu_event - a CPU goes online or offline
 * @cpu: its number
 * @online: 1 for online, 0 for going offline
 */
struct nlbus_cpu_event {
	__le32 cpu;
	__u8 online;
} __attribute__((packed));

enum nlbus_reboot_action {
	NLBUS_REBOOT_RESTART	= 1,
	NLBUS_REBOOT_HALT	= 2,
	NLBUS_REBOOT_POWER_OFF	= 3,
};

/**
 * struct nlbus_reboot_event - the host is about to go down
 * @action: enum nlbus_reboot_action
 */
struct nlbus_reboot_event {
	__le32 action;
} __attribute__((packed));

/**
 * struct nlbus_oom_event - the kernel is out of memory and is about to kill a process
 * @free_bytes: memory that is free, of all zones
 * @total_bytes: memory that the kernel manages
 */
struct nlbus_oom_event {
	__le64 free_bytes;
	__le64 total_bytes;
} __attribute__((packed));

#endif /* _UAPI_LINUX_NLBUS_EVENTS_H */

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Publishing from other modules. docs/KERNEL.md shows how to build one.
 */
#ifndef _LINUX_NLBUS_H
#define _LINUX_NLBUS_H

#include <linux/types.h>
#include <uapi/linux/nlbus.h>

struct net;

int nlbus_publish(struct net *net, const char *topic, const void *data,
		  size_t len, unsigned int flags);

#endif /* _LINUX_NLBUS_H */

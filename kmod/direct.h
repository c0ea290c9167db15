/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Direct dispatch: a lone event goes out in its publisher's own task.
 */
#ifndef _NLBUS_DIRECT_H
#define _NLBUS_DIRECT_H

#include <linux/types.h>

struct nlbus_bus;
struct nlbus_record;

bool nlbus_direct(struct nlbus_bus *bus, struct nlbus_record *record);

#endif /* _NLBUS_DIRECT_H */

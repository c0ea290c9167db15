/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What is a topic's name.
 */
#ifndef _NLBUS_NAME_H
#define _NLBUS_NAME_H

#include <linux/types.h>

struct nlbus_refusal;

int nlbus_name_check(const u8 *name, size_t len, struct nlbus_refusal *refusal);
int nlbus_name_check_open(const u8 *name, size_t len,
			  struct nlbus_refusal *refusal);

#endif /* _NLBUS_NAME_H */

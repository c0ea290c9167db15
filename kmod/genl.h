/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Discovery by name.
 */
#ifndef _NLBUS_GENL_H
#define _NLBUS_GENL_H

int nlbus_genl_register(void);
void nlbus_genl_unregister(void);

#endif /* _NLBUS_GENL_H */

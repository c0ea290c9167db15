/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What is published.
 */
#ifndef _NLBUS_ACCEPT_H
#define _NLBUS_ACCEPT_H

struct nlbus_bus;
struct nlbus_datagram;
struct nlbus_refusal;

int nlbus_accept(struct nlbus_bus *bus, struct nlbus_datagram *datagram,
		 struct nlbus_refusal *refusal);

#endif /* _NLBUS_ACCEPT_H */

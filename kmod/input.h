/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What clients send.
 */
#ifndef _NLBUS_INPUT_H
#define _NLBUS_INPUT_H

struct sk_buff;

void nlbus_input(struct sk_buff *skb);

#endif /* _NLBUS_INPUT_H */

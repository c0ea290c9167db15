/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Why something is refused: the errno of docs/PROTOCOL.md, and a sentence.
 */
#ifndef _NLBUS_REFUSAL_H
#define _NLBUS_REFUSAL_H

#include <linux/compiler_attributes.h>

/**
 * struct nlbus_refusal - why something is refused
 * @err: negative errno
 * @text: for people: what, its value, its limit, and the topic's name if known;
 *        NULL for no memory for it. nlbus_refuse() frees it.
 */
struct nlbus_refusal {
	int err;
	char *text;
};

int nlbus_refusal_set(struct nlbus_refusal *refusal, int err,
		      const char *format, ...) __printf(3, 4);

#endif /* _NLBUS_REFUSAL_H */

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Why something is refused: the errno of docs/PROTOCOL.md, and a sentence.
 */
#ifndef _NLBUS_REFUSAL_H
#define _NLBUS_REFUSAL_H

#include <linux/compiler_attributes.h>
#include <uapi/linux/nlbus.h>

/**
 * struct nlbus_refusal - why something is refused
 * @err: negative errno
 * @text: for people: what, its value, its limit, and the topic's name if known
 */
struct nlbus_refusal {
	int err;
	char text[NLBUS_TOPIC_MAX + 145];
};

int nlbus_refusal_set(struct nlbus_refusal *refusal, int err,
		      const char *format, ...) __printf(3, 4);

#endif /* _NLBUS_REFUSAL_H */

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What is a topic's name.
 */
#ifndef _NLBUS_NAME_H
#define _NLBUS_NAME_H

#include <linux/types.h>
#include <asm/byteorder.h>
#include <uapi/linux/nlbus.h>

struct nlbus_refusal;

/* Eight bytes of a name of @len bytes, from @at on; zeros behind its end. The name
 * is followed by its padding, as in an event, so the bytes are there to be read.
 */
static inline u64 nlbus_name_word(const u8 *name, u32 len, u32 at)
{
	struct nlbus_word {
		__le64 bytes;
	} __packed;
	u64 word = le64_to_cpu(((const struct nlbus_word *)(name + at))->bytes);

	return len - at < 8 ? word & (~0ULL >> (64 - 8 * (len - at))) : word;
}

/* Whether two names of @len bytes, each with its padding, are the same. */
static inline bool nlbus_name_equal(const u8 *a, const u8 *b, u32 len)
{
	u32 at;

	for (at = 0; at < len; at += 8)
		if (nlbus_name_word(a, len, at) != nlbus_name_word(b, len, at))
			return false;
	return true;
}

int nlbus_name_check(const u8 *name, size_t len, struct nlbus_refusal *refusal);
int nlbus_name_check_open(const u8 *name, size_t len,
			  struct nlbus_refusal *refusal);
int nlbus_name_check_kernel(const u8 *name, size_t len);

#endif /* _NLBUS_NAME_H */

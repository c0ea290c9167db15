// SPDX-License-Identifier: GPL-2.0
/*
 * Topic names: 1 to 255 bytes of UTF-8 without U+0000 and without the
 * characters that filters use.
 */
#include <linux/errno.h>
#include <linux/string.h>

#include "name.h"
#include "refusal.h"

static bool nlbus_between(u8 byte, u8 low, u8 high)
{
	return byte >= low && byte <= high;
}

/* Bytes of the UTF-8 sequence at the front, 0 for none. As Unicode's table 3-7
 * and Rust's std::str::from_utf8 have it: no overlong forms, no surrogates,
 * nothing above U+10FFFF. The kernel's utf8_to_utf32() takes more than that.
 */
static size_t nlbus_utf8_len(const u8 *at, size_t left)
{
	u8 low = 0x80, high = 0xbf;
	size_t len, i;

	switch (at[0]) {
	case 0x00 ... 0x7f:
		return 1;
	case 0xc2 ... 0xdf:
		len = 2;
		break;
	case 0xe0 ... 0xef:
		len = 3;
		if (at[0] == 0xe0)
			low = 0xa0;
		if (at[0] == 0xed)
			high = 0x9f;
		break;
	case 0xf0 ... 0xf4:
		len = 4;
		if (at[0] == 0xf0)
			low = 0x90;
		if (at[0] == 0xf4)
			high = 0x8f;
		break;
	default:
		return 0;
	}

	if (left < len || !nlbus_between(at[1], low, high))
		return 0;
	for (i = 2; i < len; i++)
		if (!nlbus_between(at[i], 0x80, 0xbf))
			return 0;
	return len;
}

static bool nlbus_is_utf8(const u8 *name, size_t len)
{
	size_t at = 0, step;

	while (at < len) {
		step = nlbus_utf8_len(name + at, len - at);
		if (!step)
			return false;
		at += step;
	}
	return true;
}

/* Whether the name's first level is @level. */
static bool nlbus_below(const u8 *name, size_t len, const char *level)
{
	size_t level_len = strlen(level);

	return len >= level_len && !memcmp(name, level, level_len) &&
	       (len == level_len || name[level_len] == '/');
}

/**
 * nlbus_name_check() - check a topic's name as it came over the wire
 * @name: its bytes, not terminated; may be short of @len when that is not
 *        between 1 and NLBUS_TOPIC_MAX
 * @len: how many
 * @refusal: says why, unless it is a name
 *
 * Return: 0; -EINVAL, -ENAMETOOLONG or -EILSEQ.
 */
int nlbus_name_check(const u8 *name, size_t len, struct nlbus_refusal *refusal)
{
	size_t i;

	if (!len)
		return nlbus_refusal_set(refusal, -EINVAL,
					 "bad topic name: it is empty; a topic has 1 to %u bytes",
					 NLBUS_TOPIC_MAX);
	if (len > NLBUS_TOPIC_MAX)
		return nlbus_refusal_set(refusal, -ENAMETOOLONG,
					 "bad topic name: it has %zu bytes; a topic has 1 to %u",
					 len, NLBUS_TOPIC_MAX);
	if (!nlbus_is_utf8(name, len))
		return nlbus_refusal_set(refusal, -EILSEQ,
					 "bad topic name: it isn't UTF-8");
	for (i = 0; i < len; i++) {
		if (!name[i])
			return nlbus_refusal_set(refusal, -EINVAL,
						 "bad topic name: it contains U+0000");
		if (name[i] == '+' || name[i] == '#')
			return nlbus_refusal_set(refusal, -EINVAL,
						 "bad topic name '%.*s': it contains '%c', which only filters may",
						 (int)len, name, name[i]);
	}
	return 0;
}

/**
 * nlbus_name_check_open() - check the name of a topic that processes may
 *                           create and publish to
 * @name: its bytes, not terminated
 * @len: how many
 * @refusal: says why, unless they may
 *
 * Return: as nlbus_name_check(), and -EACCES for $SYS, kernel and below.
 */
int nlbus_name_check_open(const u8 *name, size_t len,
			  struct nlbus_refusal *refusal)
{
	int err = nlbus_name_check(name, len, refusal);

	if (err)
		return err;
	if (nlbus_below(name, len, "$SYS") || nlbus_below(name, len, "kernel"))
		return nlbus_refusal_set(refusal, -EACCES,
					 "topic '%.*s': $SYS is the broker's and kernel is kernel code's to publish",
					 (int)len, name);
	return 0;
}

/**
 * nlbus_name_check_kernel() - check the name of a topic that kernel code may
 *                             publish to
 * @name: its bytes, not terminated; as for nlbus_name_check()
 * @len: how many
 *
 * Called in any context but NMI.
 *
 * Return: as nlbus_name_check(), and -EACCES for $SYS and below.
 */
int nlbus_name_check_kernel(const u8 *name, size_t len)
{
	int err = nlbus_name_check(name, len, NULL);

	return err ?: nlbus_below(name, len, "$SYS") ? -EACCES : 0;
}

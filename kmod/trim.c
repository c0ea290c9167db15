// SPDX-License-Identifier: GPL-2.0
/*
 * Which histories give first: those that keep the most, to within a factor of two,
 * in turn. So a flood evicts itself, and what is small stays.
 */
#include <linux/bitops.h>
#include <linux/kernel.h>
#include <linux/log2.h>

#include "history.h"

/**
 * nlbus_trim_init() - make a set of empty lists
 * @trim: the set
 */
void nlbus_trim_init(struct nlbus_trim *trim)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(trim->size); i++)
		INIT_LIST_HEAD(&trim->size[i]);
	trim->used = 0;
}

/**
 * nlbus_trim_place() - put a history into the list that it now belongs to
 * @trim: the set
 * @trimmed: the history's place in it
 * @bytes: what it keeps
 */
void nlbus_trim_place(struct nlbus_trim *trim, struct nlbus_trimmed *trimmed,
		      size_t bytes)
{
	unsigned int size = ilog2(bytes);

	if (!list_empty(&trimmed->link) && trimmed->size == size)
		return;
	trimmed->size = size;
	list_move_tail(&trimmed->link, &trim->size[size]);
	__set_bit(size, &trim->used);
}

/**
 * nlbus_trim_largest() - find the history that is to give
 * @trim: the set
 *
 * Return: its place; NULL if none has anything to give.
 */
struct nlbus_trimmed *nlbus_trim_largest(struct nlbus_trim *trim)
{
	struct nlbus_trimmed *trimmed;
	struct list_head *largest;

	while (trim->used) {
		largest = &trim->size[__fls(trim->used)];
		trimmed = list_first_entry_or_null(largest,
						   struct nlbus_trimmed, link);
		if (trimmed) {
			list_move_tail(&trimmed->link, largest);
			return trimmed;
		}
		__clear_bit(__fls(trim->used), &trim->used);
	}
	return NULL;
}

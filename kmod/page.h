/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Events taken out of a history, to be sent again.
 */
#ifndef _NLBUS_PAGE_H
#define _NLBUS_PAGE_H

#include <linux/types.h>

struct nlbus_history;
struct nlbus_run;

/**
 * struct nlbus_piece - events of a page that lie in one run
 * @run: the run, with a reference
 * @from: bytes of it in front of them
 * @to: bytes up to their end
 */
struct nlbus_piece {
	struct nlbus_run *run;
	u32 from;
	u32 to;
};

/**
 * struct nlbus_page - events out of a history, for a replay
 * @pieces: array of one more than @most
 * @most: how many events are wanted
 * @max_len: how many bytes of messages are wanted; the first event is given
 *           whatever it has
 * @runs: how many pieces there are
 * @count: how many events
 * @len: bytes of their messages
 * @first: the first sequence number that the history keeps
 * @next: the one behind the last event of the page
 * @head: the newest one
 */
struct nlbus_page {
	struct nlbus_piece *pieces;
	u32 most;
	u32 max_len;
	u32 runs;
	u32 count;
	u32 len;
	u64 first;
	u64 next;
	u64 head;
};

int nlbus_page_take(struct nlbus_page *page, struct nlbus_history *history,
		    u64 from);
void nlbus_page_cut(struct nlbus_page *page, u32 most);

#endif /* _NLBUS_PAGE_H */

// SPDX-License-Identifier: GPL-2.0
/*
 * Pages of a replay. They take references to runs under the history's lock, and
 * look at the events and copy them outside of it, so that they hold the bus's
 * owner up for microseconds only.
 */
#include <linux/errno.h>
#include <linux/minmax.h>
#include <linux/spinlock.h>

#include "history.h"
#include "page.h"
#include "run.h"

/* References that are taken before the bus's owner has its turn. */
#define NLBUS_PAGE_TURN	64

/* Finds the run that an event is in, which is kept; under the lock. */
static struct nlbus_kept *nlbus_page_find(struct nlbus_history *history,
					  u64 seq)
{
	u32 low = history->begin, runs = nlbus_history_runs(history);

	while (runs > 1) {
		u32 half = runs / 2;

		if (nlbus_history_slot(history, low + half)->first <= seq) {
			low += half;
			runs -= half;
		} else {
			runs = half;
		}
	}
	return nlbus_history_slot(history, low);
}

/* The sequence number behind a run's last event; under the lock. */
static u64 nlbus_page_end(const struct nlbus_kept *kept)
{
	return kept->first + kept->count;
}

/* The first event that is there of those from a number on, or one behind the newest
 * number: what was lost has numbers, too. Under the lock.
 */
static u64 nlbus_page_first(struct nlbus_history *history, u64 from)
{
	struct nlbus_kept *kept;

	from = max(from, history->first);
	if (from > history->head)
		return nlbus_history_last(history) + 1;
	kept = nlbus_page_find(history, from);
	if (from < nlbus_page_end(kept))
		return from;
	if (++kept == history->ring + history->slots)
		kept = history->ring;
	return kept->first;
}

/* Takes some references under the lock, to at least what is wanted: events aren't
 * looked at here. Return: whether to go on.
 */
static bool nlbus_page_refer(struct nlbus_page *page,
			     struct nlbus_history *history)
{
	u32 turn = NLBUS_PAGE_TURN;

	for (; turn && page->next <= history->head; turn--) {
		struct nlbus_kept *kept = nlbus_page_find(history, page->next);
		struct nlbus_piece *piece = &page->pieces[page->runs];

		/* All but the first run have been added up whole. */
		if (page->count >= page->most || page->len >= page->max_len)
			return false;
		/* The newest run was taken in the turn before, and got more
		 * since; or numbers follow that no event has. The rest is the
		 * next page's.
		 */
		if (page->runs && kept->first < page->next)
			return false;
		piece->run = nlbus_run_get(kept->run);
		piece->from = 0;
		piece->to = kept->len;
		if (page->runs++) {
			page->count += nlbus_page_end(kept) - page->next;
			page->len += kept->len;
		}
		page->next = nlbus_page_end(kept);
	}
	return !turn;
}

/**
 * nlbus_page_cut() - let go of the last events of a page
 * @page: the page
 * @most: how many to keep
 */
void nlbus_page_cut(struct nlbus_page *page, u32 most)
{
	u32 i, runs = 0;

	page->next -= page->count;
	page->count = 0;
	page->len = 0;
	for (i = 0; i < page->runs; i++) {
		struct nlbus_piece *piece = &page->pieces[i];
		u8 *data = piece->run->data;
		u32 to = piece->from;

		while (to < piece->to && page->count < most) {
			struct nlmsghdr *event = (void *)data + to;
			u32 len = NLMSG_ALIGN(event->nlmsg_len);

			if (page->count && page->len + len > page->max_len)
				break;
			to += len;
			page->len += len;
			page->count++;
		}
		/* What comes behind an event that isn't wanted isn't, either. */
		if (to < piece->to)
			most = page->count;
		piece->to = to;
		if (to > piece->from)
			runs = i + 1;
		else
			nlbus_run_put(piece->run);
	}
	page->runs = runs;
	page->next += page->count;
}

/* Has a page that begins in the middle of a run begin with the event wanted. */
static void nlbus_page_begin(struct nlbus_page *page, u64 from)
{
	struct nlbus_piece *piece = page->pieces;
	struct nlmsghdr *event = NULL;
	u8 *data = piece->run->data;

	while ((event = nlbus_event_in(data, piece->to, event)) &&
	       nlbus_event_hdr(event)->seq != from)
		;
	piece->from = event ? (u8 *)event - data : piece->to;
}

/**
 * nlbus_page_take() - take events out of a history, to send them again
 * @page: where and how many; filled in, and the caller's to cut to 0
 * @history: the history
 * @from: the first sequence number wanted, not 0
 *
 * Return: 0, or -ERANGE for @from beyond the newest event and the next one;
 * then only the numbers of @page are filled in.
 */
int nlbus_page_take(struct nlbus_page *page, struct nlbus_history *history,
		    u64 from)
{
	bool more;

	page->runs = 0;
	page->count = 0;
	page->len = 0;

	spin_lock(&history->lock);
	page->first = history->first;
	page->head = nlbus_history_last(history);
	page->next = from;
	if (from > page->head && from - page->head > 1) {
		spin_unlock(&history->lock);
		return -ERANGE;
	}
	page->next = nlbus_page_first(history, from);
	/* None between is kept, though older ones may be. */
	if (page->next > from)
		page->first = page->next;
	from = page->next;
	more = nlbus_page_refer(page, history);
	spin_unlock(&history->lock);

	while (more) {
		spin_lock(&history->lock);
		/* What was let go in the meantime ends the page: the next one
		 * says where the history begins now.
		 */
		more = page->next >= history->first &&
		       nlbus_page_refer(page, history);
		spin_unlock(&history->lock);
	}

	if (page->runs)
		nlbus_page_begin(page, from);
	page->next = from;
	page->count = 0;
	nlbus_page_cut(page, page->most);
	return 0;
}

//! Runs: events of one topic that follow each other in a datagram, with consecutive numbers. What the client does, it does
//! for a run and not for each event: finds the topic, looks at the number, counts. Under load a run is as long as a
//! datagram.

use crate::wire::uapi::{NLBUS_EVENT_F_REPLAYED, NLBUS_MSG_EVENT, NLM_F_MULTI};
use crate::wire::{EventView, Messages, Successors};
use std::ops::Range;

/// Events of one topic, one behind the other in a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run<'a> {
    pub(crate) topic: &'a str,
    pub(crate) topic_id: u32,
    /// The first one's sequence number.
    pub(crate) first: u64,
    /// At least 1.
    pub(crate) count: usize,
    /// `nlmsg_seq` of each.
    pub(crate) message_seq: u32,
    /// Whether they came out of history.
    pub(crate) replayed: bool,
    /// Where in the datagram the first one's message starts.
    pub(crate) offset: usize,
}

impl Run<'_> {
    /// The last one's sequence number.
    pub(crate) fn last(&self) -> u64 {
        self.first.saturating_add(self.count as u64 - 1)
    }

    /// It without its first `count` events, of which it has more, in the datagram that it is of.
    pub(crate) fn skip(mut self, datagram: &[u8], count: usize) -> Self {
        let mut messages = Messages::starting_at(datagram, self.offset);
        for _ in 0..count {
            messages.next();
        }
        self.offset = messages.offset();
        self.first = self.first.saturating_add(count as u64);
        self.count -= count;
        self
    }
}

/// What a datagram consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part<'a> {
    Run(Run<'a>),
    /// A message that isn't an event or can't be read.
    Foreign,
}

/// Walks a datagram.
#[derive(Debug)]
pub(crate) struct Parts<'a> {
    datagram: &'a [u8],
    offset: usize,
    cut: bool,
}

impl<'a> Parts<'a> {
    pub(crate) fn new(datagram: &'a [u8]) -> Parts<'a> {
        Parts { datagram, offset: 0, cut: false }
    }

    /// Those of a part of the datagram, which begins and ends where messages do.
    pub(crate) fn of(datagram: &'a [u8], part: Range<usize>) -> Parts<'a> {
        Parts { datagram: datagram.get(..part.end).unwrap_or(datagram), offset: part.start, cut: false }
    }

    /// Whether, by what was walked so far, there was more of it.
    pub(crate) fn is_cut(&self) -> bool {
        self.cut
    }
}

impl<'a> Iterator for Parts<'a> {
    type Item = Part<'a>;

    fn next(&mut self) -> Option<Part<'a>> {
        let offset = self.offset;
        let mut messages = Messages::starting_at(self.datagram, offset);
        let message = messages.next()?;
        self.offset = messages.offset();
        let Ok(message) = message else {
            self.cut = true;
            return Some(Part::Foreign);
        };
        self.cut = message.header.flags & NLM_F_MULTI != 0;
        let (NLBUS_MSG_EVENT, Ok(event)) = (message.header.kind, EventView::parse(message.body)) else {
            return Some(Part::Foreign);
        };
        let mut successors = Successors::new(self.datagram, message, event, self.offset);
        let count = 1 + (&mut successors).count();
        self.offset = successors.offset();
        self.cut = successors.flags() & NLM_F_MULTI != 0;
        Some(Part::Run(Run {
            topic: event.topic,
            topic_id: event.header.topic_id,
            first: event.header.seq,
            count,
            message_seq: message.header.seq,
            replayed: event.header.flags & NLBUS_EVENT_F_REPLAYED != 0,
            offset,
        }))
    }
}

#[cfg(test)]
mod tests;

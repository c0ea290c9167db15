//! What the broker answers, and to what: each request is remembered with its purpose, and the answer to
//! it does what the purpose says.

use super::requests::REQUEST_BIT;
use super::subscriber::{Refused, SubId};
use super::{Client, Output, Reply, Unanswered, Will};
use crate::delivery::EndReason;
use crate::topic::Filter;
use crate::wire::uapi::*;
use crate::wire::{
    Answer, Info, Malformed, Message, Messages, Refusal, ReplayEnd, ReplayRequest, TopicKey, TopicPageEnd, TopicRecord,
    TopicRequest, push_info_request,
};
use bytes::Bytes;
use crossbeam_channel::Sender;
use nix::errno::Errno;
use std::ops::Range;
use std::time::Instant;

/// Which of the two looks a new subscription takes: before and after joining the groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// To know the groups.
    Find,
    /// To know the heads.
    Baseline,
}

/// A page of a topic's history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ReplayPage {
    pub(super) topic_id: u32,
    pub(super) from: u64,
    pub(super) limit: u32,
}

/// Why a request was made.
#[derive(Debug, Clone)]
pub(super) enum Purpose {
    /// An exact subscription looks its topic up.
    Look { sub: SubId, name: Filter, phase: Phase },
    /// A wildcard subscription lists the topics.
    List { sub: SubId, cursor: u32, phase: Phase },
    /// Topics newer than the watermark, up to what was announced when they were first asked for.
    ListNew { cursor: u32, announced: u32 },
    /// Heads that have risen; with `survey`, all topics there are.
    Check { cursor: u32, since: u64, survey: bool },
    /// A topic that moved, or might have.
    Seek(u32),
    /// Nothing is asked: a topic has vanished, and it is over if nothing else is said of it.
    Bury(u32),
    /// Events out of history.
    Replay(ReplayPage),
    /// Whether the broker is there, and which.
    Probe,
    /// Nothing is asked: a group that could not be joined is to be joined once more.
    Join(u32),
    /// The will, for a broker that doesn't have it.
    Will,
    /// A handle's own request.
    Ask(Sender<Reply>),
    /// A handle leaves this will, or takes back what is there.
    AskWill(Sender<Reply>, Option<Will>),
}

impl Purpose {
    /// Writes the request. A handle has written its own.
    pub(super) fn write(&self, epoch: u64, will: Option<&Will>, seq: u32, datagram: &mut Vec<u8>) {
        let list = |cursor, since| TopicRequest::List { cursor, since };
        match self {
            Purpose::Look { name, .. } => TopicRequest::Get(TopicKey::Name(name.as_str())).push(datagram, seq),
            Purpose::List { cursor, .. } | Purpose::ListNew { cursor, .. } => list(*cursor, None).push(datagram, seq),
            Purpose::Seek(id) => TopicRequest::Get(TopicKey::Id(*id)).push(datagram, seq),
            Purpose::Check { cursor, since, .. } => list(*cursor, Some(*since)).push(datagram, seq),
            Purpose::Replay(ReplayPage { topic_id, from, limit }) => {
                let request = ReplayRequest { epoch, topic_id: *topic_id, from: *from, limit: Some(*limit) };
                request.push(datagram, seq);
            }
            Purpose::Probe => push_info_request(datagram, seq),
            Purpose::Will => Will::push(will, datagram, seq),
            Purpose::Ask(_) | Purpose::AskWill(..) | Purpose::Join(_) | Purpose::Bury(_) => {}
        }
    }
}

impl Client {
    /// A datagram that came from the broker to the request socket.
    pub(crate) fn replies(&mut self, datagram: &Bytes, now: Instant) {
        self.hear(now);
        let (mut messages, mut start, mut is_open) = (Messages::new(datagram), 0, false);
        while let Some(message) = messages.next() {
            let Ok(message) = message else {
                self.counters.foreign += 1;
                break;
            };
            is_open = message.header.flags & NLM_F_MULTI != 0 && message.header.kind != NLMSG_ERROR;
            if !is_open {
                if self.reply(start..message.offset, &message, datagram, now).is_err() {
                    self.counters.foreign += 1;
                }
                start = messages.offset();
            }
        }
        if is_open {
            // Cut: the request runs into its deadline and is made again.
            self.counters.cut += 1;
        }
        self.list_new(now);
        self.finish(now);
    }

    /// One answer: the messages in this part of the datagram, and the last one, which tells what it answers.
    fn reply(
        &mut self,
        before: Range<usize>,
        last: &Message<'_>,
        datagram: &Bytes,
        now: Instant,
    ) -> Result<(), Malformed> {
        let answer = (last.header.kind == NLMSG_ERROR).then(|| Answer::parse(last)).transpose()?;
        let seq = answer.as_ref().map_or(last.header.seq, |answer| answer.to.seq);
        if seq & REQUEST_BIT == 0 {
            // A publish's verdict, or the INFO that a flush waits for.
            let result = match answer {
                Some(answer) => answer.result,
                None => Ok(Some(Info::read(last.body)?.epoch)),
            };
            let another = last.header.kind == NLBUS_MSG_INFO && result != Ok(Some(self.epoch));
            // Without subscriptions nothing else tells.
            let closing = result.as_ref().is_err_and(|refusal| refusal.errno == Errno::ESHUTDOWN);
            self.outputs.push_back(Output::Answer(seq, result));
            if another || closing {
                self.disconnect();
            }
            return Ok(());
        }
        // One that was given up or answered twice (asked again, both arrived) has no purpose any more.
        let Some(purpose) = self.requests.take(seq) else { return Ok(()) };
        match (answer.map(|answer| answer.result), purpose) {
            (Some(Err(refusal)), Purpose::Ask(reply) | Purpose::AskWill(reply, _)) => {
                let _ = reply.send(Err(Unanswered::Refused(refusal)));
            }
            (_, Purpose::Ask(reply)) => {
                let _ = reply.send(Ok(datagram.clone()));
            }
            (_, Purpose::AskWill(reply, will)) => {
                self.will_is(will, now);
                let _ = reply.send(Ok(datagram.clone()));
            }
            (Some(Err(refusal)), purpose) => self.refused(purpose, refusal, now),
            (_, purpose) => {
                if let Err(malformed) = self.replied(purpose.clone(), before, last, datagram, now) {
                    // Not given up at once: the same question at once would have the same answer, without end.
                    self.request_later(purpose, now);
                    return Err(malformed);
                }
            }
        }
        Ok(())
    }

    /// The reply to a request of the client's own.
    fn replied(
        &mut self,
        purpose: Purpose,
        before: Range<usize>,
        last: &Message<'_>,
        datagram: &Bytes,
        now: Instant,
    ) -> Result<(), Malformed> {
        match (purpose, last.header.kind) {
            (Purpose::Look { sub, phase, .. }, NLBUS_MSG_TOPIC) => {
                self.looked_up(sub, phase, Some(&TopicRecord::read(last.body)?), now);
            }
            (Purpose::List { sub, cursor, phase }, NLBUS_MSG_TOPIC) => {
                self.listed(sub, phase, cursor, &records(before, datagram)?, TopicPageEnd::read(last.body)?, now);
            }
            (Purpose::ListNew { announced, .. }, NLBUS_MSG_TOPIC) => {
                self.listed_new(announced, &records(before, datagram)?, TopicPageEnd::read(last.body)?, now);
            }
            (Purpose::Check { cursor, since, survey }, NLBUS_MSG_TOPIC) => {
                let (page, end) = (records(before, datagram)?, TopicPageEnd::read(last.body)?);
                self.checked(&page, now);
                if survey {
                    self.surveyed(cursor, end.cursor.unwrap_or(u32::MAX), &page, now);
                }
                self.check_on(since, survey, end, now);
            }
            (Purpose::Seek(_), NLBUS_MSG_TOPIC) => self.sought(&TopicRecord::read(last.body)?, now),
            (Purpose::Replay(page), NLBUS_MSG_REPLAY) => {
                self.replayed(page, before, ReplayEnd::read(last.body)?, datagram);
            }
            (Purpose::Will, NLMSG_ERROR) => {}
            (Purpose::Probe, NLBUS_MSG_INFO) => {
                let info = Info::read(last.body)?;
                self.probing = false;
                if info.epoch != self.epoch {
                    self.disconnect();
                } else {
                    self.check_moved(info.counters.moved, now);
                }
            }
            _ => return Err(Malformed("an answer of another type than its request")),
        }
        Ok(())
    }

    /// A page of topics whose heads have risen.
    fn checked(&mut self, records: &[TopicRecord], now: Instant) {
        for record in records {
            if self.registry.topics.contains_key(&record.id) {
                self.track(record, now);
                self.registry.head_is(record.id, record.head);
            }
        }
    }

    /// Goes on with a check behind a page, or ends it.
    fn check_on(&mut self, since: u64, survey: bool, end: TopicPageEnd, now: Instant) {
        // Announcements may have been dropped, too.
        self.announced = self.announced.max(end.last_id);
        self.check_moved(end.moved, now);
        // The count of the first page: what changed while the pages were read is asked for the next time.
        let seen = *self.checking.get_or_insert(end.change);
        if let Some(cursor) = end.cursor {
            return self.request(Purpose::Check { cursor, since, survey }, 0, now);
        }
        self.change = seen;
        self.checking = None;
        if self.check.take() == Some(true) {
            self.check_heads(now);
        }
    }

    /// The broker refused a request of the client's own.
    fn refused(&mut self, purpose: Purpose, refusal: Refusal, now: Instant) {
        if refusal.errno == Errno::ESHUTDOWN || refusal.errno == Errno::ESTALE {
            // It closes, or is another one already.
            return self.disconnect();
        }
        match purpose {
            Purpose::Look { sub, phase, .. } if refusal.errno == Errno::ENOENT => self.looked_up(sub, phase, None, now),
            Purpose::Look { sub, .. } | Purpose::List { sub, .. } if !self.registry.is_open(sub) => {
                self.refuse_opening(sub, Refused::Broker(refusal));
            }
            // An open one waits for the topic, as for one that isn't there.
            Purpose::Look { sub, phase, .. } if refusal.errno == Errno::EACCES => self.looked_up(sub, phase, None, now),
            Purpose::Replay(ReplayPage { topic_id: id, .. }) | Purpose::Seek(id) if refusal.errno == Errno::ENOENT => {
                self.vanished(id, now);
            }
            Purpose::Replay(ReplayPage { topic_id: id, .. }) | Purpose::Seek(id) if refusal.errno == Errno::EACCES => {
                if self.registry.topics.contains_key(&id) {
                    self.end_topic(id, None, EndReason::Denied, now);
                    // Answers overtake each other when one of them is late: it may have been readable again since.
                    self.request(Purpose::Seek(id), 0, now);
                }
            }
            // ENOMEM, say, which passes. What was promised is still owed.
            purpose => self.request_later(purpose, now),
        }
    }

    /// No answer came, however often the request was made.
    pub(super) fn given_up(&mut self, purpose: Purpose, now: Instant) {
        match purpose {
            // The application has its subscription from before a restart: there is no giving up.
            Purpose::Look { sub, .. } | Purpose::List { sub, .. } if self.registry.is_open(sub) => {
                self.request(purpose, 0, now);
            }
            Purpose::Look { sub, .. } | Purpose::List { sub, .. } => self.refuse_opening(sub, Refused::TimedOut),
            // Nothing else would ask for what these look for.
            Purpose::ListNew { .. } | Purpose::Check { .. } | Purpose::Seek(_) | Purpose::Will => {
                self.request(purpose, 0, now);
            }
            Purpose::Replay(page) => self.registry.replay_is_over(page.topic_id),
            Purpose::Join(group) => self.join_again(group, now),
            Purpose::Bury(id) => self.end_topic(id, None, EndReason::Deleted, now),
            // Silence from a broker that still has its port: it may be stopped, and answers when it goes on.
            Purpose::Probe => self.probing = false,
            Purpose::Ask(reply) | Purpose::AskWill(reply, _) => {
                let _ = reply.send(Err(Unanswered::TimedOut));
            }
        }
    }
}

fn records(page: Range<usize>, datagram: &Bytes) -> Result<Vec<TopicRecord>, Malformed> {
    let messages = Messages::starting_at(datagram, page.start).map_while(Result::ok);
    messages.take_while(|message| message.offset < page.end).map(|message| TopicRecord::read(message.body)).collect()
}

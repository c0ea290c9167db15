//! The client: a state machine without I/O. Frames, commands and time go in; deliveries go into the
//! subscriptions' channels, and [`Output`]s, which a driver carries out, come out.
//!
//! Every subscription holds a cursor for each topic it follows, and is there either live (the next event
//! from the group is delivered) or behind (events from the group only raise the topic's known head, and
//! the cursor advances by replays). All that can go wrong ends in the second state: a gap, a full
//! channel, a topic that was there before its subscriber. So there is one way to catch up, and one place
//! that says what is lost: where history begins after the cursor.

mod answers;
mod by_id;
mod held;
mod moves;
mod opening;
mod reconnect;
mod registry;
mod repair;
mod requests;
mod subscriber;
mod turns;
mod will;

pub(crate) use requests::REQUEST_BIT;
pub use subscriber::Start;
pub(crate) use subscriber::{Opened, Opening, Refused, SubId};
pub(crate) use will::Will;

use crate::event::Event;
use crate::run::{Part, Parts, Run};
use crate::wire::uapi::*;
use crate::wire::{Heartbeat, Refusal, TopicsAnnouncement};
use answers::Purpose;
use bytes::Bytes;
use crossbeam_channel::Sender;
use held::Held;
use moves::Overs;
use registry::Registry;
use requests::{Expired, Requests};
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use subscriber::Subscriber;

/// No word from the broker for this long, and the client asks whether it is there.
const SILENCE: Duration = Duration::from_secs(3);

/// What the driver does for the client, in this order.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// Send this datagram to the broker's request port, or say [`Client::unsent`].
    Send(Bytes),
    /// Join a multicast group with the event socket.
    Join(u32),
    /// Leave one.
    Leave(u32),
    /// The broker answered a publish with the event's number, or the barrier of a flush with its epoch; it was sent with this
    /// number.
    Answer(u32, Result<Option<u64>, Refusal>),
    /// The broker is gone or another one: find it and say [`Client::restarted`] or [`Client::resumed`].
    Reconnect,
}

/// The answer to a request that a handle made: the reply's datagram.
pub(crate) type Reply = Result<Bytes, Unanswered>;

/// Why a request of a handle has no reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unanswered {
    /// The broker refused it.
    Refused(Refusal),
    /// No answer came.
    TimedOut,
    /// The broker went away meanwhile.
    Gone,
}

/// What the client has counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ClientCounters {
    /// Frames dropped because they weren't from the broker, or couldn't be read.
    pub foreign: u64,
    /// Datagrams that arrived cut.
    pub cut: u64,
    /// Datagrams that the kernel dropped because the event socket's buffer was full, as far as seen. Each may have held many
    /// events, or none that was of interest here.
    pub overruns: u64,
    /// Events given to subscriptions out of history: an event counts once for each that got it.
    pub repaired: u64,
    /// Events that history no longer held, reported to subscriptions as lost: an event counts once for each that it was
    /// reported to. What subscriptions dropped by their own [`Overflow`](crate::Overflow) policy isn't here, but in
    /// [`SubscriptionCounters::dropped`](crate::SubscriptionCounters::dropped).
    pub lost: u64,
}

/// The state machine. One for each connection to a bus.
#[derive(Debug)]
pub(crate) struct Client {
    epoch: u64,
    requests: Requests<Purpose>,
    held: Held,
    registry: Registry,
    outputs: VecDeque<Output>,
    counters: ClientCounters,
    /// Newest topic id of which subscriptions have been told.
    watermark: u32,
    /// A newer one that was announced.
    announced: u32,
    /// A listing of new topics is under way.
    listing: bool,
    /// The bus's change count when heads were last checked.
    change: u64,
    /// How many topics the broker has named that moved or ended, as far as that was heard.
    moved: Option<u64>,
    /// The next check looks at all topics.
    survey: bool,
    /// Topics that were over a moment ago.
    ended: Overs,
    /// A probe is under way.
    probing: bool,
    /// A check of heads is under way; another one was asked for meanwhile.
    check: Option<bool>,
    /// The bus's change count at the first page of that check.
    checking: Option<u64>,
    /// The last drop count of the event socket.
    drops: u32,
    /// When the broker last said anything, if it is watched.
    heard: Option<Instant>,
    /// What the broker is to publish when this connection is gone.
    will: Option<Will>,
    /// Waiting for the driver to find the broker.
    disconnected: bool,
}

impl Client {
    pub(crate) fn new(epoch: u64) -> Client {
        Client {
            epoch,
            requests: Requests::new(),
            held: Held::default(),
            registry: Registry::default(),
            outputs: VecDeque::new(),
            counters: ClientCounters::default(),
            watermark: 0,
            announced: 0,
            listing: false,
            probing: false,
            change: 0,
            moved: None,
            survey: false,
            ended: Overs::default(),
            check: None,
            checking: None,
            drops: 0,
            heard: None,
            will: None,
            disconnected: false,
        }
    }

    pub(crate) fn counters(&self) -> ClientCounters {
        self.counters
    }

    pub(crate) fn next_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Counts a frame that the driver dropped because it isn't the broker's.
    pub(crate) fn count_foreign(&mut self) {
        self.counters.foreign += 1;
    }

    /// Events may have been missed that no datagram shows.
    pub(crate) fn missed(&mut self, now: Instant) {
        self.check_heads(now);
        self.finish(now);
    }

    /// A datagram that came from the broker to a group, whole or, as the kernel says (`MSG_TRUNC`), cut. Several may come before
    /// [`finish`](Self::finish), which lets the consumers have them.
    pub(crate) fn events(&mut self, datagram: &Bytes, truncated: bool, now: Instant) {
        self.hear(now);
        let mut parts = Parts::new(datagram);
        for part in &mut parts {
            let Part::Run(run) = part else {
                self.counters.foreign += 1;
                continue;
            };
            if run.message_seq != self.epoch as u32 {
                self.counters.foreign += run.count as u64;
                self.probe(now);
                continue;
            }
            self.registry.live_run(self.epoch, &run, datagram);
            if run.topic.starts_with('$') {
                self.sys_run(&run, datagram, now);
            }
        }
        if parts.is_cut() || truncated {
            self.counters.cut += 1;
            self.check_heads(now);
        }
        self.list_new(now);
    }

    /// The broker's own events say what the client otherwise wouldn't know.
    fn sys_run(&mut self, run: &Run<'_>, datagram: &Bytes, now: Instant) {
        for at in 0..run.count {
            let event = Event::first_of(&run.skip(datagram, at), self.epoch, datagram);
            match run.topic {
                NLBUS_SYS_HEARTBEAT => {
                    if let Ok(beat) = Heartbeat::read(event.payload()) {
                        self.announced = self.announced.max(beat.last_id);
                        self.check_moved(beat.moved, now);
                    }
                }
                NLBUS_SYS_TOPICS => {
                    if let Ok(topics) = TopicsAnnouncement::read(event.payload()) {
                        self.topics_said(&topics, now);
                    }
                }
                // What was published before it has come before it; what comes after it is another broker's.
                NLBUS_SYS_CLOSING => self.disconnect(),
                _ => {}
            }
        }
    }

    /// `drops` is the event socket's drop count (`SO_MEMINFO`), as it was when that had last been read to its end.
    pub(crate) fn dropped(&mut self, drops: u32, now: Instant) {
        if drops != self.drops {
            self.counters.overruns += u64::from(drops.wrapping_sub(self.drops));
            self.drops = drops;
            self.check_heads(now);
            self.finish(now);
        }
    }

    /// A consumer made room in its channel.
    pub(crate) fn room(&mut self, now: Instant) {
        self.registry.look_for_room(now);
        self.finish(now);
    }

    /// A new subscription.
    pub(crate) fn open(&mut self, opening: Opening, now: Instant) {
        if self.registry.subscribers.is_empty() {
            self.heard = Some(now);
            self.registry.hold_group(NLBUS_GROUP_SYS, &mut self.outputs);
            // Nobody watched the broker until now: it may be another one than it was, and topics may have moved.
            self.moved = None;
            self.probe(now);
        }
        let id = self.registry.insert(Subscriber::new(opening, self.epoch));
        self.resolve(id, now);
        self.finish(now);
    }

    /// The end of a subscription.
    pub(crate) fn close(&mut self, id: SubId) {
        if self.registry.remove(id, &mut self.outputs) && self.registry.subscribers.is_empty() {
            self.heard = self.heard.filter(|_| self.will.is_some());
            self.registry.release_group(NLBUS_GROUP_SYS, &mut self.outputs);
        }
    }

    /// A request that a handle makes and waits for until `deadline`; `write` gets the number to send it with.
    pub(crate) fn ask(&mut self, write: impl FnOnce(u32) -> Vec<u8>, reply: Sender<Reply>, deadline: Instant) {
        self.ask_for(Purpose::Ask(reply.clone()), write, &reply, deadline);
    }

    /// The same, with what the answer means besides.
    fn ask_for(
        &mut self,
        purpose: Purpose,
        write: impl FnOnce(u32) -> Vec<u8>,
        reply: &Sender<Reply>,
        deadline: Instant,
    ) {
        if self.disconnected {
            // The handle may have gone; then nobody waits.
            let _ = reply.send(Err(Unanswered::Gone));
            return;
        }
        let seq = self.requests.add_once(purpose, deadline);
        self.outputs.push_back(Output::Send(write(seq).into()));
    }

    /// When [`Client::tick`] wants to be called at the latest.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let silence = self.heard.filter(|_| !self.disconnected).map(|heard| heard + SILENCE);
        let refill = self.registry.turns.deadline().filter(|_| !self.disconnected);
        [self.requests.deadline(), self.held.deadline(), self.ended.deadline(), refill, silence]
            .into_iter()
            .flatten()
            .min()
    }

    /// Time has passed.
    pub(crate) fn tick(&mut self, now: Instant) {
        while let Some(expired) = self.requests.expire(now) {
            match expired {
                // A handle's request may not be one that can be repeated.
                Expired::Again(Purpose::Ask(reply) | Purpose::AskWill(reply, _), _)
                | Expired::GivenUp(Purpose::Ask(reply) | Purpose::AskWill(reply, _)) => {
                    let _ = reply.send(Err(Unanswered::TimedOut));
                }
                Expired::Again(Purpose::Join(group), _) => self.join_again(group, now),
                Expired::Again(purpose @ Purpose::Bury(_), _) => self.given_up(purpose, now),
                Expired::Again(purpose, tried) => self.request(purpose, tried, now),
                Expired::GivenUp(purpose) => self.given_up(purpose, now),
            }
        }
        self.ended.forget(now);
        self.send_held(now);
        if self.registry.turns.deadline().is_some_and(|refill| refill <= now) {
            self.registry.look_for_room(now);
        }
        if !self.disconnected && self.heard.is_some_and(|heard| heard + SILENCE <= now) {
            self.heard = Some(now);
            self.probe(now);
        }
        self.finish(now);
    }

    fn hear(&mut self, now: Instant) {
        if let Some(heard) = &mut self.heard {
            *heard = now;
        }
    }

    /// Asks for the topics that are newer than the known ones, if any were announced.
    fn list_new(&mut self, now: Instant) {
        if self.announced > self.watermark && !self.listing && !self.disconnected {
            self.listing = true;
            self.request(Purpose::ListNew { cursor: self.watermark, announced: self.announced }, 0, now);
        }
    }

    /// Asks for the heads that have risen since the last time: events may have been dropped at the tail, where
    /// no later event shows the gap.
    fn check_heads(&mut self, now: Instant) {
        match &mut self.check {
            Some(again) => *again = true,
            None if self.disconnected => {}
            None => {
                self.check = Some(false);
                let survey = std::mem::take(&mut self.survey);
                // Every count is above 0.
                let since = if survey { 0 } else { self.change };
                self.request(Purpose::Check { cursor: 0, since, survey }, 0, now);
            }
        }
    }

    /// Registers a request for a purpose and has it sent.
    fn request(&mut self, purpose: Purpose, tried: u32, now: Instant) {
        if self.disconnected {
            return;
        }
        let mut datagram = Vec::new();
        let (seq, purpose) = self.requests.add(purpose, tried, now);
        purpose.write(self.epoch, self.will.as_ref(), seq, &mut datagram);
        self.outputs.push_back(Output::Send(datagram.into()));
    }

    /// Makes a request again, not at once but when its answer would be overdue: what the broker can't do now, it can't
    /// do sooner for being asked without pause.
    fn request_later(&mut self, purpose: Purpose, now: Instant) {
        if !self.disconnected {
            self.requests.add(purpose, 0, now);
        }
    }

    /// At the end of each input, or of several: sends the batches that were filled, and asks for what is missing.
    pub(crate) fn finish(&mut self, now: Instant) {
        self.registry.sweep(&mut self.outputs);
        for id in self.registry.flush() {
            self.close(id);
        }
        if !self.disconnected {
            for replay in self.registry.plan_replays() {
                self.request(Purpose::Replay(replay), 0, now);
            }
        }
    }
}

#[cfg(test)]
mod tests;

//! What came in lands on the local bus: events and losses in datagrams, which the broker accepts whole or not at all. Where they
//! come from a stream, each datagram also says how far in it they are, on a topic of the bridge's own. So what is published is
//! known there as long as what was published is, and a bridge that was killed neither leaves anything out nor repeats it.

use crate::config::OWN_TOPICS;
use crate::declared::{self, is_a_bridges};
use crate::metrics::Metrics;
use crate::state::InPlace;
use crate::stop::Stop;
use bytes::Bytes;
use nix::errno::Errno;
use nix::unistd::geteuid;
use nlbus::wire::uapi::NLBUS_DATAGRAM_MAX;
use nlbus::{Bus, Content, PublishBatch, PublishError, PublishReason, RequestError, Start};
use nlbus_subscribers::end::End;
use std::error::Error;
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use tracing::{info, warn};

/// Bytes of a datagram that are left for how far it is.
const MARK: usize = 1024;

/// Bytes of a message without topic and payload, at most: headers, and what they are rounded up by.
const HEADER: usize = 72;

/// How long to wait for the local broker before it is tried again.
const TRY_AGAIN: Duration = Duration::from_millis(50);

/// How long the local broker may take to say what it keeps.
const PATIENCE: Duration = Duration::from_secs(5);

/// Bytes of history that the bridge's own topics have: so they don't expire.
const HISTORY: u64 = 4096;

/// Something to be published here: an event, and before it how many are lost.
#[derive(Debug)]
pub struct Landing {
    pub topic: String,
    pub lost: u64,
    pub event: Option<(Content, Bytes)>,
    /// Its number in the stream, if it comes from one.
    pub seq: Option<u64>,
}

impl Landing {
    /// Bytes of the datagram that it takes, at most.
    fn size(&self) -> usize {
        let payload = self.event.as_ref().map_or(0, |(_, payload)| payload.len() + self.topic.len() + HEADER);
        let lost = if self.lost > 0 { self.topic.len() + HEADER } else { 0 };
        payload + lost
    }

    fn push(&self, batch: &mut PublishBatch<'_>) -> Result<(), PublishError> {
        if self.lost > 0 {
            batch.push_lost(&self.topic, self.lost)?;
        }
        match &self.event {
            None => Ok(()),
            Some((content, payload)) => batch.push_content(&self.topic, *content, payload),
        }
    }
}

/// Publishes what comes in by a rule.
#[derive(Debug)]
pub struct Ground {
    bus: Bus,
    rule: String,
    /// The bridge's name on this bus.
    id: String,
    /// The topic that says how far the stream is, if they come from one.
    mark: Option<String>,
    metrics: Arc<Metrics>,
    stop: Stop,
}

impl Ground {
    /// The ground of a rule; with the name of a stream's place, one that keeps how far the stream is.
    pub fn new(bus: &Bus, rule: &str, id: &str, key: Option<&str>, metrics: Arc<Metrics>, stop: Stop) -> Ground {
        let mark = key.map(|key| format!("{OWN_TOPICS}/{id}/{:08x}", crc32c::crc32c(key.as_bytes())));
        Ground { bus: bus.clone(), rule: rule.to_owned(), id: id.to_owned(), mark, metrics, stop }
    }

    /// How far the stream is, by what this bus was told last, in this life or an earlier one of the bridge's.
    ///
    /// # Errors
    /// When the local broker doesn't say.
    pub fn place(&self) -> Result<Option<InPlace>, End> {
        let Some(mark) = &self.mark else { return Ok(None) };
        let head = self.bus.topic(mark)?.map_or(0, |topic| topic.head);
        if head == 0 {
            return Ok(None);
        }
        let mut kept = self.bus.subscriber(mark).start(Start::Last(1)).open()?;
        let event = kept.recv_timeout(PATIENCE).ok().and_then(nlbus::Delivery::into_event);
        let event = event.ok_or_else(|| {
            End::Failed(format!(
                "the local broker doesn't give the last event of {mark}; nlbus doctor looks for the cause"
            ))
        })?;
        // Nobody else's word counts.
        let is_own = is_a_bridges(&event) && [0, geteuid().as_raw()].contains(&event.sender().uid);
        let place = serde_json::from_slice(event.payload()).ok().filter(|_| is_own);
        place.map(Some).ok_or_else(|| {
            End::Failed(format!(
                "the topic {mark} has what isn't this bridge's; delete it (nlbus topic rm) if it may begin anew"
            ))
        })
    }

    /// Makes the bridge's own topics, where there are none yet: nobody else is to write there.
    ///
    /// # Errors
    /// When the local broker refuses.
    pub fn own_topics(&self) -> Result<(), RequestError> {
        self.bus.topic_options(&declared::topic(&self.id)).mode(0o644).history(declared::HISTORY).create()?;
        if let Some(mark) = &self.mark {
            self.bus.topic_options(mark).mode(0o600).history(HISTORY).create()?;
        }
        Ok(())
    }

    /// Publishes what landed, in order, and how far in the stream that is. While there is no broker, it waits for one. What the
    /// broker refuses is left out, and counted.
    ///
    /// # Errors
    /// [`End::Interrupted`] when the end comes before that is done: some of it may be published.
    pub fn take(&self, landed: &mut Vec<Landing>, place: Option<&InPlace>) -> Result<(), End> {
        let mut rest = &landed[..];
        while !rest.is_empty() {
            let mut room = NLBUS_DATAGRAM_MAX - MARK;
            let mut is_over = false;
            let fits = |landing: &&Landing| {
                let left = room.checked_sub(landing.size()).filter(|_| !is_over);
                room = left.unwrap_or(0);
                // Of the last one, the broker says the number; and of what is lost that must be known.
                is_over = landing.lost > 0;
                left.is_some()
            };
            let (datagram, behind) = rest.split_at(rest.iter().take_while(fits).count().max(1));
            self.publish(datagram, place)?;
            rest = behind;
        }
        landed.clear();
        Ok(())
    }

    fn publish(&self, datagram: &[Landing], place: Option<&InPlace>) -> Result<(), End> {
        let mut told = false;
        loop {
            let error = match self.try_publish(datagram, place) {
                Ok(()) => {
                    if told {
                        info!("rule {}: the local broker is there again", self.rule);
                    }
                    self.count(datagram);
                    return Ok(());
                }
                Err(error) => error,
            };
            match (error.reason(), datagram) {
                // The largest event, behind a loss: each has a datagram of its own.
                (PublishReason::BatchFull, [landing]) if landing.lost > 0 && landing.event.is_some() => {
                    let Landing { topic, lost, event, seq } = landing;
                    let apart = |lost, event, seq| Landing { topic: topic.clone(), lost, event, seq };
                    self.publish(&[apart(*lost, None, None)], place)?;
                    return self.publish(&[apart(0, event.clone(), *seq)], place);
                }
                (PublishReason::Closed | PublishReason::Forked, _) => return Err(error.into()),
                // It is this event's fault.
                (PublishReason::Refused(_) | PublishReason::TooLarge(_) | PublishReason::Topic(_), [landing])
                    if !is_passing(&error) =>
                {
                    warn!("rule {}: an event stays outside: {error}", self.rule);
                    self.metrics.came_refused.with_label_values(&[self.rule.as_str()]).inc();
                    return self.lose(landing, place);
                }
                // It is one of these's.
                (
                    PublishReason::Refused(_)
                    | PublishReason::TooLarge(_)
                    | PublishReason::Topic(_)
                    | PublishReason::BatchFull,
                    [_, _, ..],
                ) if !is_passing(&error) => {
                    return datagram.iter().try_for_each(|landing| self.publish(std::slice::from_ref(landing), place));
                }
                _ => {}
            }
            if !std::mem::replace(&mut told, true) {
                warn!("rule {}: waiting for the local broker: {error}", self.rule);
            }
            if self.stop.is_asked() {
                return Err(End::Interrupted);
            }
            thread::sleep(TRY_AGAIN);
            // The next broker's is to be nobody else's, too. If that fails there is none yet.
            let _ = self.own_topics();
        }
    }

    /// Says that an event that can't be published is lost, where that can be said.
    fn lose(&self, landing: &Landing, place: Option<&InPlace>) -> Result<(), End> {
        if landing.event.is_none() {
            return Ok(());
        }
        let lost = Landing { topic: landing.topic.clone(), lost: landing.lost + 1, event: None, seq: landing.seq };
        self.publish(&[lost], place)
    }

    fn try_publish(&self, datagram: &[Landing], place: Option<&InPlace>) -> Result<(), PublishError> {
        let Some((last, before)) = datagram.split_last() else { return Ok(()) };
        let mut batch = self.bus.batch();
        for landing in before {
            landing.push(&mut batch)?;
        }
        if let (Some(mark), Some(place), Some(seq)) = (&self.mark, place, last.seq) {
            let place = serde_json::to_vec(&InPlace { seq, ..place.clone() }).unwrap_or_default();
            batch.push_content(mark, Content::Json, &place)?;
        }
        last.push(&mut batch)?;
        let Some(seq) = batch.send_acked()?.filter(|_| last.lost > 0) else { return Ok(()) };
        let to = if last.event.is_some() { seq - 1 } else { seq };
        if let Err(error) = self.tell_of_loss(&last.topic, to + 1 - last.lost, to) {
            warn!(
                "rule {}: {} events of {} that another host lost may go out as lost here: {error}",
                self.rule, last.lost, last.topic
            );
        }
        Ok(())
    }

    fn tell_of_loss(&self, topic: &str, from: u64, to: u64) -> Result<(), Box<dyn Error>> {
        let epoch = self.bus.info()?.epoch;
        let topic_id = self.bus.topic(topic)?.ok_or("the topic is gone")?.id;
        Ok(declared::tell(&self.bus, &self.id, (epoch, topic_id), from, to)?)
    }

    fn count(&self, datagram: &[Landing]) {
        let label = [self.rule.as_str()];
        let events = datagram.iter().filter_map(|landing| landing.event.as_ref());
        let (count, bytes) = events.fold((0, 0), |(count, bytes), event| (count + 1, bytes + event.1.len() as u64));
        let lost = datagram.iter().map(|landing| landing.lost).sum();
        self.metrics.came.with_label_values(&label).inc_by(count);
        self.metrics.came_bytes.with_label_values(&label).inc_by(bytes);
        self.metrics.came_lost.with_label_values(&label).inc_by(lost);
    }
}

/// Whether it may go well with the next broker, or later.
fn is_passing(error: &PublishError) -> bool {
    matches!(error.errno(), Some(Errno::ESHUTDOWN | Errno::EAGAIN | Errno::ENOMEM | Errno::ENOBUFS))
}

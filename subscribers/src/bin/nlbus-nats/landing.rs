//! What came in lands on the local bus: events and losses in datagrams, which the broker accepts whole or not at all. Each says
//! which one it is, and how far in the stream: see [`Mark`].

use crate::declared;
use crate::mark::{Mark, Word};
use crate::metrics::Metrics;
use crate::state::InPlace;
use crate::stop::Stop;
use bytes::Bytes;
use nix::errno::Errno;
use nlbus::wire::uapi::NLBUS_DATAGRAM_MAX;
use nlbus::{Bus, Content, PublishBatch, PublishError, PublishReason, RequestError};
use nlbus_subscribers::end::End;
use std::error::Error;
use std::slice;
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
    mark: Mark,
    metrics: Arc<Metrics>,
    stop: Stop,
}

impl Ground {
    /// The ground of a rule, which has a key by which it is known again.
    pub fn new(bus: &Bus, rule: &str, id: &str, key: &str, metrics: Arc<Metrics>, stop: Stop) -> Ground {
        let mark = Mark::new(bus, id, key);
        Ground { bus: bus.clone(), rule: rule.to_owned(), id: id.to_owned(), mark, metrics, stop }
    }

    /// How far the stream is, by what this bus was told last.
    ///
    /// # Errors
    /// As [`Mark::last`].
    pub fn place(&self) -> Result<Option<InPlace>, End> {
        Ok(self.mark.last()?.and_then(|word| word.place))
    }

    /// Makes the bridge's own topics, where there are none yet: nobody else is to write there.
    ///
    /// # Errors
    /// When the local broker refuses.
    pub fn own_topics(&self) -> Result<(), RequestError> {
        self.bus.topic_options(&declared::topic(&self.id)).mode(0o644).history(declared::HISTORY).create()?;
        self.mark.create()
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
        let place = place.zip(datagram.last().and_then(|last| last.seq));
        let place = place.map(|(place, seq)| InPlace { seq, ..place.clone() });
        let word = Word { datagram: fastrand::u64(..), place };
        let mut told = false;
        loop {
            let error = match self.try_publish(datagram, &word) {
                Ok(()) => {
                    if told {
                        info!("rule {}: the local broker is there again", self.rule);
                    }
                    self.count(datagram);
                    return Ok(());
                }
                Err(error) => error,
            };
            if is_final(&error) {
                return self.apart(datagram, word.place.as_ref(), &error);
            }
            if matches!(error.reason(), PublishReason::Closed | PublishReason::Forked) {
                return Err(error.into());
            }
            if !std::mem::replace(&mut told, true) {
                warn!("rule {}: waiting for the local broker: {error}", self.rule);
            }
            if matches!(error.reason(), PublishReason::Unknown) && self.is_published(word.datagram)? {
                self.count(datagram);
                return Ok(());
            }
            self.rest()?;
            // The next broker's are to be nobody else's, too. If that fails there is none yet.
            let _ = self.own_topics();
        }
    }

    /// Waits a moment.
    ///
    /// # Errors
    /// [`End::Interrupted`].
    fn rest(&self) -> Result<(), End> {
        if self.stop.is_asked() {
            return Err(End::Interrupted);
        }
        thread::sleep(TRY_AGAIN);
        Ok(())
    }

    /// Whether a datagram was published of which the broker didn't say so in time.
    ///
    /// # Errors
    /// [`End::Interrupted`] when the end comes before it says.
    fn is_published(&self, datagram: u64) -> Result<bool, End> {
        loop {
            // It may lie before the broker still.
            match self.bus.flush() {
                Err(error) if !matches!(error.reason(), PublishReason::EarlierRefused { .. }) => {}
                _ => {
                    if let Ok(word) = self.mark.last() {
                        return Ok(word.is_some_and(|word| word.datagram == datagram));
                    }
                }
            }
            self.rest()?;
        }
    }

    /// Publishes what isn't accepted together each for itself, and leaves out what isn't accepted even so.
    fn apart(&self, datagram: &[Landing], place: Option<&InPlace>, error: &PublishError) -> Result<(), End> {
        let [Landing { topic, lost, event, seq }] = datagram else {
            return datagram.iter().try_for_each(|landing| self.publish(slice::from_ref(landing), place));
        };
        let landing = |lost, event, seq| [Landing { topic: topic.clone(), lost, event, seq }];
        match event {
            // The loss has no number in the stream: it isn't done with before the event is.
            Some(_) if *lost > 0 => {
                self.publish(&landing(*lost, None, None), place)?;
                self.publish(&landing(0, event.clone(), *seq), place)
            }
            Some(_) => {
                warn!("rule {}: an event stays outside: {error}", self.rule);
                self.metrics.came_refused.with_label_values(&[self.rule.as_str()]).inc();
                self.publish(&landing(1, None, *seq), place)
            }
            None => {
                warn!("rule {}: {lost} lost events of {topic} aren't told of here: {error}", self.rule);
                Ok(())
            }
        }
    }

    fn try_publish(&self, datagram: &[Landing], word: &Word) -> Result<(), PublishError> {
        let Some((last, before)) = datagram.split_last() else { return Ok(()) };
        let mut batch = self.bus.batch();
        for landing in before {
            landing.push(&mut batch)?;
        }
        self.mark.push(&mut batch, word)?;
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

/// Whether trying again is of no use.
fn is_final(error: &PublishError) -> bool {
    let passes = [Errno::ESHUTDOWN, Errno::EAGAIN, Errno::ENOMEM, Errno::ENOBUFS];
    match error.reason() {
        PublishReason::TooLarge(_) | PublishReason::Topic(_) | PublishReason::BatchFull => true,
        PublishReason::Refused(refusal) => !passes.contains(&refusal.errno),
        _ => false,
    }
}

//! What several filters match, as one sequence of deliveries: what more than one of them matches is delivered once.

use crate::end::End;
use crate::topics::Topics;
use crossbeam_channel::{Receiver, Select, TryRecvError};
use nlbus::{Batch, Bus, Delivery, Filter, Positions, RequestError, SubscribeError, Subscriber, Subscription};
use std::collections::HashSet;
use std::convert::Infallible;
use std::time::{Duration, Instant};
use tracing::warn;

/// Subscriptions whose deliveries are taken together.
#[derive(Debug)]
pub struct Feed {
    parts: Vec<Part>,
    exclude: Vec<Filter>,
    /// Of the last restart that was delivered: each subscription has one of its own.
    epoch: Option<u64>,
}

#[derive(Debug)]
struct Part {
    filter: Filter,
    subscription: Subscription,
    positions: Positions,
    /// Ids of topics that have ended.
    ended: HashSet<u32>,
}

/// A delivery of one of the filters.
#[derive(Debug)]
pub struct Item {
    place: usize,
    /// The delivery.
    pub delivery: Delivery,
    /// Whether it is this filter's to deal with: not if one before it matches, too, or it is excluded.
    pub wanted: bool,
}

/// What a wait came to.
#[derive(Debug)]
pub enum Next {
    /// Deliveries in order.
    Deliveries(Vec<Item>),
    /// None came in time.
    TimedOut,
    /// The program is to end.
    Stopped,
}

impl Feed {
    /// Subscribes to each filter, as `how` makes it out of the plain subscription.
    ///
    /// # Errors
    /// As [`Subscriber::open`].
    pub fn open(
        bus: &Bus,
        topics: &Topics,
        how: impl Fn(&Filter, Subscriber) -> Subscriber,
    ) -> Result<Feed, SubscribeError> {
        let open = |filter: &Filter| {
            let subscription = how(filter, bus.subscriber(filter.as_str())).open()?;
            let positions = subscription.positions().clone();
            Ok(Part { filter: filter.clone(), subscription, positions, ended: HashSet::new() })
        };
        let parts = topics.filters.iter().map(open).collect::<Result<_, _>>()?;
        Ok(Feed { parts, exclude: topics.exclude.clone(), epoch: None })
    }

    /// A delivery was dealt with, or needn't be.
    pub fn passed(&mut self, item: &Item) {
        let part = &mut self.parts[item.place];
        part.positions.advance(&item.delivery);
        match &item.delivery {
            Delivery::Ended(ended) => drop(part.ended.insert(ended.topic_id)),
            // The other broker's ids begin anew.
            Delivery::Restarted(_) => part.ended.clear(),
            _ => {}
        }
    }

    /// How far each filter has come: past all that was [`passed`](Self::passed).
    pub fn positions(&self) -> impl Iterator<Item = (&Filter, &Positions)> {
        self.parts.iter().map(|part| (&part.filter, &part.positions))
    }

    /// What is left out.
    pub fn exclude(&self) -> &[Filter] {
        &self.exclude
    }

    /// Takes what is there.
    ///
    /// # Errors
    /// When the connection has ended.
    pub fn take(&mut self) -> Result<Option<Vec<Item>>, End> {
        for place in 0..self.parts.len() {
            match self.parts[place].subscription.batches().try_recv() {
                Ok(batch) => return Ok(Some(self.sift(place, batch))),
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => return Err(ended()),
            }
        }
        Ok(None)
    }

    /// Waits for what comes next.
    ///
    /// # Errors
    /// When the connection has ended.
    pub fn wait(&mut self, stop: &Receiver<Infallible>, deadline: Option<Instant>) -> Result<Next, End> {
        loop {
            let mut select = Select::new();
            for part in &self.parts {
                select.recv(part.subscription.batches());
            }
            select.recv(stop);
            let ready = match deadline {
                None => select.ready(),
                Some(deadline) => match select.ready_deadline(deadline) {
                    Ok(ready) => ready,
                    Err(_) => return Ok(Next::TimedOut),
                },
            };
            // Events that never cease must not put the end off.
            if stop.try_recv() == Err(TryRecvError::Disconnected) {
                return Ok(Next::Stopped);
            }
            let Some(part) = self.parts.get(ready) else { continue };
            match part.subscription.batches().try_recv() {
                Ok(batch) => return Ok(Next::Deliveries(self.sift(ready, batch))),
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => return Err(ended()),
            }
        }
    }

    fn sift(&mut self, place: usize, batch: Batch) -> Vec<Item> {
        let mut items = Vec::with_capacity(batch.len());
        for delivery in batch {
            let wanted = match &delivery {
                Delivery::Event(event) => self.is_wanted(place, event.topic()),
                Delivery::Lost(lost) => self.is_wanted(place, &lost.topic),
                Delivery::Ended(ended) => self.is_wanted(place, &ended.topic),
                Delivery::Restarted(restarted) => self.epoch.replace(restarted.epoch) != Some(restarted.epoch),
                _ => false,
            };
            items.push(Item { place, delivery, wanted });
        }
        items
    }

    fn is_wanted(&self, place: usize, topic: &str) -> bool {
        let mut before = self.parts[..place].iter().map(|part| &part.filter);
        !before.any(|filter| filter.matches(topic)) && !self.exclude.iter().any(|filter| filter.matches(topic))
    }
}

/// How long the end may wait for events that were published before it was asked for.
pub const DRAIN: Duration = Duration::from_secs(10);

/// What has a feed, and deals with what comes out of it.
pub trait Sink {
    /// Its feed.
    fn feed(&mut self) -> &mut Feed;

    /// Deals with deliveries, and [passes](Feed::passed) each of them.
    ///
    /// # Errors
    /// What ends the program.
    fn write(&mut self, items: &[Item]) -> Result<(), End>;
}

/// For an orderly end: goes on until all that was published by now is dealt with, or [`DRAIN`] is over.
///
/// # Errors
/// When the connection has ended, and as [`Sink::write`].
pub fn drain(bus: &Bus, sink: &mut impl Sink) -> Result<(), End> {
    let deadline = Instant::now() + DRAIN;
    let mut goal = match Goal::now(bus) {
        Ok(goal) => goal,
        Err(error) => {
            warn!("ending without the newest events: {error}");
            return Ok(());
        }
    };
    while !goal.is_reached(sink.feed()) {
        match sink.feed().wait(&crossbeam_channel::never(), Some(deadline))? {
            Next::Deliveries(items) => sink.write(&items)?,
            Next::TimedOut | Next::Stopped => {
                warn!("ending without the newest events of {} topics: they didn't come in time", goal.left.len());
                return Ok(());
            }
        }
    }
    Ok(())
}

/// All that was published by a moment.
#[derive(Debug)]
struct Goal {
    /// Topics by name and id, and their newest events.
    left: Vec<(String, u32, u64)>,
}

impl Goal {
    /// What was published by now.
    fn now(bus: &Bus) -> Result<Goal, RequestError> {
        let topics = bus.topics()?.into_iter();
        Ok(Goal { left: topics.map(|topic| (topic.name, topic.id, topic.head)).collect() })
    }

    /// Whether the feed has passed all of it that it follows.
    fn is_reached(&mut self, feed: &Feed) -> bool {
        self.left.retain(|(topic, id, head)| {
            let mut following = feed.parts.iter().filter(|part| part.filter.matches(topic));
            following.any(|part| {
                // Nothing more comes of one that ended.
                !part.ended.contains(id) && part.positions.seq(*id).unwrap_or_default() < *head
            })
        });
        self.left.is_empty()
    }
}

fn ended() -> End {
    End::Failed("the connection to the broker ended; start the program again".into())
}

//! What there is to show: the broker is asked once an interval, and a subscription brings the newest event of each topic.

use crossbeam_channel::{Sender, bounded};
use nlbus::{Bus, Delivery, Event, Filter, Info, Overflow, Start, TopicRecord};
use nlbus_subscribers::clients::{Client, clients};
use nlbus_subscribers::end::End;
use std::thread;
use std::time::{Duration, Instant};

/// Events that wait to be shown, at most one a topic: the newest stands for those before it.
const EVENTS: usize = 512;

/// How many are shown at once, and the time before the next ones.
const AT_ONCE: usize = 32;
const GATHER: Duration = Duration::from_millis(50);

/// Something new.
pub enum Update {
    /// The broker was asked.
    Look(Box<Look>),
    /// It didn't answer; why.
    Gone(String),
    /// Events, each of which may stand for several.
    Events(Vec<Event>),
    /// Events can't be shown; why.
    NoEvents(String),
}

/// What the broker says, and what the kernel says of its clients.
pub struct Look {
    pub at: Instant,
    pub info: Info,
    pub topics: Vec<TopicRecord>,
    pub clients: Vec<Client>,
}

/// The threads that look.
pub struct Source {
    hurry: Sender<()>,
}

impl Source {
    /// Starts looking.
    ///
    /// # Errors
    /// When there can be no threads.
    pub fn start(bus: Bus, filter: Filter, interval: Duration, updates: Sender<Update>) -> Result<Source, End> {
        let (hurry, hurried) = bounded(1);
        let (own, to) = (bus.clone(), updates.clone());
        let look = move || loop {
            let update = match look(&own) {
                Ok(look) => Update::Look(Box::new(look)),
                Err(error) => Update::Gone(error),
            };
            if to.send(update).is_err() {
                return;
            }
            if hurried.recv_timeout(interval).is_err_and(|error| error.is_disconnected()) {
                return;
            }
        };
        let follow = move || follow(&bus, &filter, &updates);
        let started = thread::Builder::new().name("look".into()).spawn(look).map(drop);
        let started = started.and_then(|()| thread::Builder::new().name("events".into()).spawn(follow).map(drop));
        started.map_err(|error| End::Failed(format!("can't start a thread: {error}")))?;
        Ok(Source { hurry })
    }

    /// Doesn't wait for the interval to be over.
    pub fn look_now(&self) {
        // One that is asked for already will do.
        let _ = self.hurry.try_send(());
    }
}

/// Asks the broker, and the kernel.
pub fn look(bus: &Bus) -> Result<Look, String> {
    let info = bus.info().map_err(|error| error.to_string())?;
    let topics = bus.topics().map_err(|error| error.to_string())?;
    let own = i32::try_from(std::process::id()).ok();
    let mut clients = clients(info.protocol).unwrap_or_default();
    clients.retain(|client| client.process.as_ref().map(|(pid, _)| *pid) != own);
    Ok(Look { at: Instant::now(), info, topics, clients })
}

fn follow(bus: &Bus, filter: &Filter, updates: &Sender<Update>) {
    let subscriber = bus.subscriber(filter.as_str()).start(Start::Last(1));
    let mut subscription = match subscriber.overflow(Overflow::Latest).capacity(EVENTS).open() {
        Ok(subscription) => subscription,
        Err(error) => return drop(updates.send(Update::NoEvents(error.to_string()))),
    };
    while let Ok(first) = subscription.recv() {
        let mut events = Vec::new();
        let mut next = Some(first);
        while let Some(delivery) = next.take() {
            if let Delivery::Event(event) = delivery {
                events.push(event.to_owned());
            }
            next = if events.len() < AT_ONCE { subscription.try_recv().ok() } else { None };
        }
        if !events.is_empty() && updates.send(Update::Events(events)).is_err() {
            return;
        }
        // Nobody reads faster. What comes meanwhile the newest of each topic stands for.
        thread::sleep(GATHER);
    }
}

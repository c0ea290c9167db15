//! nlbus on a bus that has more on it than what is compared with peers: topics, filters, a history of any size.

use super::nlbus::Way;
use crate::shape::Shape;
use crate::system::{Cell, Go, Publisher, Sink, Subscriber};
use anyhow::{Context, Result, bail};
use nlbus::{Bus, Delivery, Event, Subscription};

/// Levels of a topic that filters match in many ways: two to this power.
const LEVELS: usize = 10;

/// What fills the history is published in buffers of this many events, between which the broker is asked how full it is.
const FILL: usize = 4096;

/// The topics that are published to in turn: of the same number of levels, so that one filter follows all.
pub fn topics(shape: Shape) -> Vec<String> {
    let levels = (0..LEVELS - 1).map(|level| format!("l{level}/")).collect::<String>();
    (0..shape.topics).map(|topic| format!("bench/{levels}{topic:05}")).collect()
}

/// A filter that matches all of them, and is another one for each number below 2^LEVELS.
fn matching(number: usize) -> Result<String> {
    if number >= 1 << LEVELS {
        bail!("only {} different filters match the topics, and this would be number {}", 1 << LEVELS, number + 1);
    }
    let level = |level| if number >> level & 1 == 1 { "+".to_owned() } else { format!("l{level}") };
    // The last level is the topics' own.
    let levels: Vec<String> = (0..LEVELS - 1).map(level).collect();
    Ok(format!("bench/{}/{}", levels.join("/"), if number >> (LEVELS - 1) & 1 == 1 { "#" } else { "+" }))
}

/// A bus that is as full as it will be while it is measured: the topics are there, and each new event has to make room for itself
/// in their histories.
pub fn furnish(bus: &Bus, cell: &Cell) -> Result<()> {
    let topics = topics(cell.shape);
    let publisher = bus.buffered();
    for idle in 0..cell.shape.idle {
        publisher.publish(&format!("bench/idle/{idle:05}"), "idle")?;
    }
    for topic in &topics {
        publisher.publish(topic, "first")?;
    }
    bus.flush()?;
    if cell.shape.history > 0 {
        for topic in &topics {
            bus.set_history(topic, cell.shape.history)?;
        }
    }
    let filler = vec![0; cell.size];
    let full = |bus: &Bus| -> Result<bool> { Ok(bus.info()?.counters.evicted >= FILL as u64) };
    while !full(bus)? {
        for topic in topics.iter().cycle().take(FILL.next_multiple_of(topics.len())) {
            publisher.publish(topic, &filler)?;
        }
        bus.flush()?;
    }
    Ok(())
}

/// Publishes to the topics in turn.
struct InTurn {
    way: Way,
    topics: Vec<String>,
    next: usize,
}

pub fn publisher(way: Way, cell: &Cell) -> Box<dyn Publisher> {
    Box::new(InTurn { way, topics: topics(cell.shape), next: 0 })
}

impl Publisher for InTurn {
    fn send(&mut self, payload: &[u8]) -> Result<()> {
        self.way.publish(&self.topics[self.next], payload)?;
        self.next = if self.next + 1 < self.topics.len() { self.next + 1 } else { 0 };
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        self.way.flush()
    }
}

/// Takes each event from each subscription that gets it, and hands it on once.
struct Filters {
    first: Subscription,
    rest: Vec<Subscription>,
    _others: Vec<Subscription>,
}

pub fn subscriber(bus: &Bus, cell: &Cell) -> Result<Box<dyn Subscriber>> {
    let subscribe = |number| -> Result<Subscription> { Ok(bus.subscribe(&matching(number)?)?) };
    let first = subscribe(0)?;
    let rest = (1..cell.shape.matching).map(subscribe).collect::<Result<_>>()?;
    let others = (0..cell.shape.others).map(|other| bus.subscribe(&format!("bench/other/+/{other}")));
    Ok(Box::new(Filters { first, rest, _others: others.collect::<Result<_, _>>()? }))
}

impl Subscriber for Filters {
    fn receive(&mut self, mut sink: Sink) -> Result<()> {
        loop {
            let event = lent(&mut self.first)?;
            for other in &mut self.rest {
                let same = lent(other)?;
                if (same.topic_id(), same.seq()) != (event.topic_id(), event.seq()) {
                    bail!(
                        "one filter's event is {} {}, another's {} {}",
                        event.topic(),
                        event.seq(),
                        same.topic(),
                        same.seq()
                    );
                }
            }
            if sink(event.payload()) == Go::End {
                return Ok(());
            }
        }
    }
}

fn lent(events: &mut Subscription) -> Result<&Event> {
    match events.recv_ref().context("receive")? {
        Delivery::Event(event) => Ok(event),
        other => bail!("{other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_that_match_are_all_different_and_do() {
        let topics = topics(Shape { topics: 3, ..Shape::FURNISHED });
        let filters: std::collections::HashSet<String> =
            (0..1 << LEVELS).map(|number| matching(number).unwrap()).collect();
        assert_eq!(filters.len(), 1 << LEVELS);
        for filter in filters {
            let filter = nlbus::Filter::new(&filter).unwrap();
            assert!(topics.iter().all(|topic| filter.matches(topic)), "{filter:?}");
        }
        assert!(matching(1 << LEVELS).is_err());
    }
}

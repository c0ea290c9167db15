//! Which topics have series of their own. There is room for so many, and events give it: a topic that nothing comes from any
//! more gives way to one that lives.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Topics with series of their own.
#[derive(Debug)]
pub struct Labels {
    max: usize,
    quiet: Duration,
    topics: BTreeMap<String, State>,
    /// Before this moment, no topic will have been quiet for long enough.
    full_until: Option<Instant>,
}

#[derive(Debug)]
struct State {
    /// Of its newest event.
    active: Instant,
    /// The broker doesn't list it any more.
    gone: bool,
}

/// What an event's topic was given.
#[derive(Debug, PartialEq, Eq)]
pub enum Given {
    /// Series of its own.
    Own,
    /// Series of its own, in the place of this topic.
    InPlaceOf(String),
    /// None.
    None,
}

impl Labels {
    /// For so many topics, which keep their place at least so long without an event.
    pub fn new(max: usize, quiet: Duration) -> Labels {
        Labels { max, quiet, topics: BTreeMap::new(), full_until: None }
    }

    /// All that have series.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.topics.keys().map(String::as_str)
    }

    /// An event of a topic came.
    pub fn active(&mut self, topic: &str, now: Instant) -> Given {
        if let Some(state) = self.topics.get_mut(topic) {
            *state = State { active: now, gone: false };
            return Given::Own;
        }
        let mut given = Given::Own;
        if self.topics.len() >= self.max {
            match self.quietest(now) {
                Some(place) => {
                    self.topics.remove(&place);
                    given = Given::InPlaceOf(place);
                }
                None => return Given::None,
            }
        }
        self.topics.insert(topic.to_owned(), State { active: now, gone: false });
        given
    }

    /// The topic whose place another one may have.
    fn quietest(&mut self, now: Instant) -> Option<String> {
        // Not a look at each of them for each event.
        if self.full_until.is_some_and(|until| now < until) {
            return None;
        }
        let (topic, state) = self.topics.iter().min_by_key(|(_, state)| (!state.gone, state.active))?;
        match state.active.checked_add(self.quiet) {
            _ if state.gone => Some(topic.clone()),
            Some(until) if until <= now => Some(topic.clone()),
            until => {
                self.full_until = until;
                None
            }
        }
    }

    /// The broker listed these topics, and had been asked at that moment. Those it has no more give way first.
    pub fn listed(&mut self, topics: &BTreeSet<&str>, asked: Instant) {
        for (topic, state) in &mut self.topics {
            state.gone = state.active < asked && !topics.contains(topic.as_str());
            if state.gone {
                self.full_until = None;
            }
        }
    }

    /// Of these topics, those that are shown by their own name: those that have series, and as many others as there is room
    /// for, which doesn't take it from anybody.
    pub fn shown<'a>(&self, topics: &BTreeSet<&'a str>) -> BTreeSet<&'a str> {
        let (mut shown, others): (BTreeSet<_>, BTreeSet<_>) =
            topics.iter().partition(|topic| self.topics.contains_key(**topic));
        shown.extend(others.into_iter().take(self.max.saturating_sub(self.topics.len())));
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: Duration = Duration::from_secs(60);

    #[test]
    fn a_topic_gives_way_once_it_was_quiet_for_long() {
        let (mut labels, start) = (Labels::new(2, QUIET), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(labels.active("a", at(0)), Given::Own);
        assert_eq!(labels.active("b", at(1)), Given::Own);
        assert_eq!(labels.active("c", at(59)), Given::None);
        assert_eq!(labels.active("a", at(59)), Given::Own);
        assert_eq!(labels.active("c", at(60)), Given::None);
        assert_eq!(labels.active("c", at(61)), Given::InPlaceOf("b".into()));
        assert_eq!(labels.iter().collect::<Vec<_>>(), ["a", "c"]);
    }

    #[test]
    fn a_topic_that_is_gone_gives_way_at_once() {
        let (mut labels, start) = (Labels::new(2, QUIET), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        labels.active("a", at(0));
        labels.active("b", at(2));
        assert_eq!(labels.active("c", at(2)), Given::None);
        // "b" came after the broker was asked.
        labels.listed(&BTreeSet::new(), at(1));
        assert_eq!(labels.active("c", at(3)), Given::InPlaceOf("a".into()));
        assert_eq!(labels.active("d", at(3)), Given::None);
        labels.listed(&["c"].into(), at(4));
        assert_eq!(labels.active("b", at(5)), Given::Own, "it is back");
        assert_eq!(labels.active("d", at(5)), Given::None);
    }

    #[test]
    fn what_is_only_shown_takes_no_place() {
        let (mut labels, now) = (Labels::new(2, QUIET), Instant::now());
        labels.active("z", now);
        let topics = ["a", "b", "z"].into();
        assert_eq!(labels.shown(&topics), ["a", "z"].into());
        assert_eq!(labels.active("y", now), Given::Own);
        assert_eq!(labels.shown(&topics), ["z"].into());
        assert_eq!(Labels::new(0, QUIET).active("a", now), Given::None);
    }
}

//! The broker's core and several clients, wired together in memory: a network that drops what doesn't fit,
//! consumers that read when they please, time that moves when it is told to. What the promises say of order and
//! loss must hold whatever happens, and a failure shrinks to the few steps that make it.

mod consumer;
mod world;

use crate::client::Start;
use crate::inlet::Overflow;
use proptest::prelude::*;
use world::World;

const TOPICS: [&str; 4] = ["a/x", "a/y", "b", "c/d/e"];
const FILTERS: [&str; 6] = ["a/x", "a/+", "#", "c/#", "b", "f/#"];
/// More topics than are asked for at a time, so that some wait for their turn.
const FLOODED: usize = 40;
/// Datagrams that an event socket holds.
const SOCKET: usize = 3;

#[derive(Debug, Clone)]
enum Step {
    /// So many events of one topic in one datagram, `bytes` each.
    Publish {
        topic: usize,
        count: usize,
        bytes: usize,
    },
    /// So many numbers of one topic are lost, and so many events of it follow in the same datagram.
    Lose {
        topic: usize,
        numbers: u64,
        count: usize,
    },
    /// An event of each of so many topics of their own, in one datagram.
    Flood {
        topics: usize,
    },
    /// A topic comes about without an event.
    Create {
        topic: usize,
    },
    Delete {
        topic: usize,
    },
    /// Root alone may read a topic, or everybody again.
    Restrict {
        topic: usize,
        restricted: bool,
    },
    /// The broker sends what it has.
    Flush,
    Open {
        client: usize,
        filter: usize,
        capacity: usize,
        start: Start,
        overflow: Overflow,
    },
    ReadReplies {
        client: usize,
    },
    ReadEvents {
        client: usize,
        count: usize,
    },
    /// A reply doesn't fit the request socket.
    LoseReply {
        client: usize,
    },
    Consume {
        subscription: usize,
        batches: usize,
    },
    Pass {
        millis: u64,
    },
    /// The broker is killed and another one takes its place.
    Restart,
}

fn step(restarts: bool) -> impl Strategy<Value = Step> {
    let start = prop_oneof![4 => Just(Start::Live), 1 => Just(Start::All), 1 => (0u64..5).prop_map(Start::Last)];
    let overflow = prop_oneof![
        3 => Just(Overflow::CatchUp),
        1 => Just(Overflow::DropOldest),
        1 => Just(Overflow::DropNewest),
        1 => Just(Overflow::Latest),
    ];
    prop_oneof![
        // These and those that follow each as one: of more than ten, none may have the weight 0.
        10 => prop_oneof![
            4 => (0..TOPICS.len(), 1usize..20, 0usize..400)
                .prop_map(|(topic, count, bytes)| Step::Publish { topic, count, bytes }),
            1 => (0..TOPICS.len(), 1u64..20, 0usize..3)
                .prop_map(|(topic, numbers, count)| Step::Lose { topic, numbers, count }),
        ],
        3 => prop_oneof![
            (1..FLOODED).prop_map(|topics| Step::Flood { topics }),
            (0..TOPICS.len()).prop_map(|topic| Step::Create { topic }),
            (0..TOPICS.len()).prop_map(|topic| Step::Delete { topic }),
            (0..TOPICS.len(), any::<bool>()).prop_map(|(topic, restricted)| Step::Restrict { topic, restricted }),
        ],
        8 => Just(Step::Flush),
        2 => (0usize..2, 0..FILTERS.len(), 1usize..30, start, overflow).prop_map(
            |(client, filter, capacity, start, overflow)| Step::Open { client, filter, capacity, start, overflow }
        ),
        6 => (0usize..2).prop_map(|client| Step::ReadReplies { client }),
        8 => (0usize..2, 1usize..4).prop_map(|(client, count)| Step::ReadEvents { client, count }),
        1 => (0usize..2).prop_map(|client| Step::LoseReply { client }),
        6 => (0usize..6, 1usize..4).prop_map(|(subscription, batches)| Step::Consume { subscription, batches }),
        1 => (1u64..3000).prop_map(|millis| Step::Pass { millis }),
        u32::from(restarts) => Just(Step::Restart),
    ]
}

fn run(steps: &[Step], seed: Option<u64>) -> Result<(), TestCaseError> {
    let mut world = World::new(seed);
    for step in steps {
        world.take(step);
    }
    world.end()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn delivered_and_lost_are_what_was_published(steps in prop::collection::vec(step(false), 0..120)) {
        run(&steps, None)?;
    }

    #[test]
    fn subscriptions_live_on_over_restarts(steps in prop::collection::vec(step(true), 0..120)) {
        run(&steps, None)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 5000, ..ProptestConfig::default() })]

    #[test]
    fn every_event_is_accounted_for_whatever_happens_on_the_way(
        steps in prop::collection::vec(step(false), 0..120), seed in any::<u64>()
    ) {
        run(&steps, Some(seed))?;
    }

    #[test]
    fn and_so_it_is_over_restarts(steps in prop::collection::vec(step(true), 0..120), seed in any::<u64>()) {
        run(&steps, Some(seed))?;
    }
}

//! What a bus promises, through any life that clients may lead it.

use super::*;
use std::collections::HashSet;

/// Where the payload begins behind a name of three bytes.
const PAYLOAD_AT: usize = 64;

#[derive(Debug, Clone)]
enum Step {
    Publish(Sending),
    Create(u8),
    Delete(u8),
    Replay { topic: u8, from: u64, limit: Option<u32> },
    Flush,
    Pass(u64),
    Noise(Vec<u8>),
}

/// A datagram of publishes.
#[derive(Debug, Clone)]
struct Sending {
    port: u32,
    /// Topics, and bytes of payload.
    events: Vec<(u8, usize)>,
    ack: bool,
    /// Which has a bad name.
    bad_at: Option<usize>,
    /// Behind which a request stands.
    asked_at: Option<usize>,
}

fn step() -> impl Strategy<Value = Step> {
    let events = prop::collection::vec((0u8..6, 0usize..2000), 1..8);
    let at = || prop::option::weighted(0.2, 0usize..8);
    let sending = (50u32..53, events, any::<bool>(), at(), at());
    prop_oneof![
        5 => sending.prop_map(|(port, events, ack, bad_at, asked_at)| {
            Step::Publish(Sending { port, events, ack, bad_at, asked_at })
        }),
        1 => (0u8..6).prop_map(Step::Create),
        1 => (0u8..6).prop_map(Step::Delete),
        2 => (0u8..6, 1u64..20, prop::option::of(1u32..5))
            .prop_map(|(topic, from, limit)| Step::Replay { topic, from, limit }),
        2 => Just(Step::Flush),
        1 => (0u64..30).prop_map(Step::Pass),
        1 => prop::collection::vec(any::<u8>(), 0..80).prop_map(Step::Noise),
    ]
}

/// As many as there may be, the broker's own included: all but one of the names that are used.
const TOPICS: usize = SYS_COUNT as usize + 5;

/// The port ids of those who created the topics that exist.
#[derive(Default)]
struct Creators(HashMap<u32, u32>);

impl Creators {
    /// After something that a client did.
    fn note(&mut self, bus: &Bus, port: u32) {
        let topics = &bus.core.topics;
        self.0 = topics
            .list(SYS_COUNT, None)
            .map(|slot| topics.get(slot).id)
            .map(|id| (id, self.0.get(&id).copied().unwrap_or(port)))
            .collect();
    }

    fn count(&self, port: u32) -> usize {
        self.0.values().filter(|creator| **creator == port).count()
    }

    /// What a datagram is to be refused with.
    fn verdict(&self, bus: &Bus, sending: &Sending, user_topics: u32) -> Option<Errno> {
        if sending.has_bad() {
            return Some(Errno::EINVAL);
        }
        let is_new = |topic: &u8| bus.core.topics.find(&name(*topic)).is_none();
        let new: HashSet<_> = sending.events.iter().map(|(topic, _)| *topic).filter(is_new).collect();
        let room = TOPICS - bus.core.topics.len() as usize;
        let own = user_topics as usize - self.count(sending.port);
        (new.len() > room.min(own)).then_some(if room <= own { Errno::ENOSPC } else { Errno::EDQUOT })
    }

    /// What is kept of those that somebody created: within his limit, or only the newest of each.
    fn check_kept(&self, bus: &Bus, port: u32, limit: u64) {
        let topics = &bus.core.topics;
        let own = || self.0.iter().filter(|(_, creator)| **creator == port).filter_map(|(id, _)| topics.by_id(*id));
        let kept: u64 = own().map(|slot| topics.record(slot).bytes).sum();
        assert!(kept <= limit || own().all(|slot| topics.kept(slot).count() <= 1), "{kept} bytes of {limit}");
    }
}

fn name(topic: u8) -> String {
    format!("t/{topic}")
}

impl Sending {
    fn has_bad(&self) -> bool {
        self.bad_at.is_some_and(|at| at < self.events.len())
    }

    fn asks(&self) -> bool {
        self.asked_at.is_some_and(|at| at < self.events.len())
    }

    /// An ack is the last message's to ask for.
    fn is_acked(&self) -> bool {
        self.ack && self.asked_at != Some(self.events.len() - 1)
    }

    /// The payload of an event: no two that follow each other are alike.
    fn payload(&self, at: usize, number: usize) -> Vec<u8> {
        vec![(number + at) as u8; self.events[at].1]
    }

    /// The datagram, with bytes that say nothing wherever a client may leave some, and none behind the last message.
    fn datagram(&self, number: usize) -> Vec<u8> {
        let mut datagram = Vec::new();
        let mut end = 0;
        for (at, (topic, len)) in self.events.iter().enumerate() {
            let topic = if self.bad_at == Some(at) { "t/#".into() } else { name(*topic) };
            let (start, is_last) = (datagram.len(), at + 1 == self.events.len());
            let payload = self.payload(at, number);
            let ack = is_last && self.is_acked();
            push_publish(&mut datagram, at as u32, ack, 0, Content::Opaque, &topic, &payload);
            end = start + PAYLOAD_AT + len;
            datagram[start + PAYLOAD_AT - 5..start + PAYLOAD_AT].fill(0xaa);
            datagram[end..].fill(0xaa);
            if self.asked_at == Some(at) {
                push_info_request(&mut datagram, 100);
                end = datagram.len();
            }
        }
        datagram.truncate(end);
        datagram
    }
}

proptest! {
    /// Whatever comes and goes: numbers are consecutive, each accepted event is broadcast once, in order and as it was published, a
    /// refused datagram leaves no trace, acks tell the truth, replay returns what history keeps and nothing else, and nobody has
    /// more than his quota.
    #[test]
    fn promises_hold_through_any_life(steps in prop::collection::vec(step(), 1..60), topic_history in 0u64..20_000,
                                      history in 0u64..40_000, pack in 1024usize..5000,
                                      user_topics in 1u32..6, user_history in 0u64..40_000) {
        let config = Config { topic_history, history, pack, topics_max: TOPICS as u32, heartbeat: Duration::from_millis(50), ..Config::default() };
        let mut bus = Bus::new(Config { user_topics: Some(user_topics), user_history: Some(user_history), ..config });
        let mut creators = Creators::default();
        // Per topic, by its id: port ids and payloads of what was accepted.
        let mut accepted: HashMap<u32, Vec<(u32, Vec<u8>)>> = HashMap::new();
        let mut broadcast: HashMap<u32, Vec<Seen>> = HashMap::new();
        let mut number = 0;
        let mut expected_acks = Vec::new();
        let mut acks = Vec::new();
        for step in steps.into_iter().chain([Step::Flush]) {
            match step {
                Step::Publish(sending) => {
                    let count = sending.events.len();
                    let before = (bus.core.topics.len(), bus.core.info().counters);
                    let verdict = creators.verdict(&bus, &sending, user_topics);
                    bus.accept(sending.port, &sending.datagram(number));
                    let answers: Vec<_> = bus.unicasts.drain(..).map(|(_, _, datagram)| datagram).collect();
                    if bus.core.info().counters.refused == before.1.refused {
                        prop_assert_eq!(verdict, None);
                        creators.note(&bus, sending.port);
                        prop_assert_eq!(answers.len(), usize::from(sending.asks()));
                        let id = |topic: u8| {
                            let topics = &bus.core.topics;
                            topics.get(topics.find(&name(topic)).unwrap()).id
                        };
                        for (at, (topic, _)) in sending.events.iter().enumerate() {
                            accepted.entry(id(*topic)).or_default().push((sending.port, sending.payload(at, number)));
                        }
                        if sending.is_acked() {
                            let last = accepted[&id(sending.events[count - 1].0)].len() as u64;
                            expected_acks.push((sending.port, count as u32 - 1, last));
                        }
                        number += count;
                    } else {
                        prop_assert_eq!(answers.len(), 1);
                        let errno = read_answer(&answers[0]).result.unwrap_err().errno;
                        prop_assert_eq!(Some(errno), verdict);
                        let refused = before.1.refused + 1;
                        prop_assert_eq!(bus.core.info().counters, Counters { refused, clients: bus.core.info().counters.clients, ..before.1 });
                        prop_assert_eq!(bus.core.topics.len(), before.0);
                    }
                }
                Step::Create(topic) => {
                    let mut datagram = Vec::new();
                    TopicRequest::create(&name(topic)).push(&mut datagram, 1);
                    prop_assert_eq!(bus.ask(&datagram).len(), 1);
                    creators.note(&bus, 50);
                    prop_assert!(creators.count(50) <= user_topics as usize);
                }
                Step::Delete(topic) => {
                    let exists = bus.core.topics.find(&name(topic)).is_some();
                    let mut datagram = Vec::new();
                    TopicRequest::Delete(TopicKey::Name(&name(topic))).push(&mut datagram, 1);
                    // Root's: user 0 is the one of this port.
                    bus.accept(u32::MAX - 1, &datagram);
                    prop_assert_eq!(bus.unicasts.len(), 1);
                    let answer = bus.unicasts.remove(0).2;
                    let is_refused = Messages::new(&answer).next().unwrap().unwrap().header.kind == NLMSG_ERROR;
                    prop_assert_eq!(is_refused, !exists);
                    creators.note(&bus, 0);
                }
                Step::Replay { topic, from, limit } => {
                    let Some(slot) = bus.core.topics.find(&name(topic)) else { continue };
                    let id = bus.core.topics.get(slot).id;
                    let all = accepted.get(&id).map_or(&[][..], Vec::as_slice);
                    let kept = bus.core.topics.kept(slot);
                    prop_assert_eq!(kept.end, all.len() as u64 + 1);
                    if from > kept.end {
                        continue;
                    }
                    let (events, end) = bus.replay(id, from, limit);
                    let first = from.max(kept.start);
                    let count = (kept.end - first).min(limit.map_or(u64::MAX, u64::from));
                    prop_assert_eq!(events.len() as u64, count);
                    for (seq, event) in (first..).zip(&events) {
                        let (port, payload) = &all[seq as usize - 1];
                        prop_assert_eq!((event.header.seq, event.header.portid), (seq, *port));
                        prop_assert_eq!(&event.payload, payload);
                    }
                    prop_assert_eq!((end.first, end.next, end.head), (kept.start, first + count, all.len() as u64));
                }
                Step::Flush => {
                    bus.flush();
                    for (_, datagram) in &bus.broadcasts {
                        prop_assert!(datagram.len() <= pack || Messages::new(datagram).count() == 1);
                    }
                    for event in bus.events() {
                        broadcast.entry(event.header.topic_id).or_default().push(event);
                    }
                    for (port, _, datagram) in bus.unicasts.drain(..) {
                        let answer = read_answer(&datagram);
                        acks.push((port, answer.to.seq, answer.result.unwrap().unwrap()));
                    }
                    (50..53).for_each(|port| creators.check_kept(&bus, port, user_history));
                    // Nor have the broker's own topics to give anything to make room for others.
                    let is_least = |slot| bus.core.topics.kept(slot).count() <= 1;
                    prop_assert!(bus.core.info().counters.history <= history || bus.core.topics.list(SYS_COUNT, None).all(is_least));
                }
                Step::Pass(ms) => bus.ms += ms,
                Step::Noise(bytes) => {
                    bus.ask(&bytes);
                }
            }
        }
        prop_assert_eq!(acks, expected_acks);
        for (id, seen) in broadcast {
            let topic = seen[0].topic.clone();
            let numbers: Vec<_> = seen.iter().map(|event| event.header.seq).collect();
            prop_assert_eq!(numbers, (1..=seen.len() as u64).collect::<Vec<_>>(), "{}", &topic);
            prop_assert!(seen.is_sorted_by_key(|event| event.header.time_ns));
            if !topic.starts_with("$SYS") {
                let seen: Vec<_> = seen.into_iter().map(|event| (event.header.portid, event.payload)).collect();
                prop_assert_eq!(Some(seen), accepted.remove(&id));
            }
        }
        prop_assert!(accepted.is_empty());
    }
}

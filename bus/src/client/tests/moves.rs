//! Topics that move between groups, as the module has them do, and those that end: what is asked, joined, and said.

use super::super::moves::SEEKS;
use super::*;
use crate::delivery::EndReason;
use crate::type_name::TypeName;
use crate::wire::{Heartbeat, MovedTopic, TopicKey, TopicRequest, TopicsAnnouncement};

/// A broker that has what topics it is said to have, and lets no one read those that are denied.
struct Broker {
    client: Client,
    now: Instant,
    topics: Vec<TopicRecord>,
    denied: Vec<u32>,
    moved: u64,
    joins: Vec<Output>,
    /// What joining a group comes to, where it fails.
    shut: Vec<(u32, Errno)>,
    asked: Vec<String>,
}

impl Broker {
    fn new() -> Broker {
        let client = Client::new(1);
        let mut broker = Broker {
            client,
            now: Instant::now(),
            topics: Vec::new(),
            denied: Vec::new(),
            moved: 5,
            joins: Vec::new(),
            shut: Vec::new(),
            asked: Vec::new(),
        };
        broker.has(4, "a", 3, 2);
        broker
    }

    fn has(&mut self, id: u32, name: &str, group: u32, head: u64) {
        self.topics.retain(|topic| topic.id != id);
        let change = self.topics.iter().map(|topic| topic.change).max().unwrap_or_default() + 1;
        let name = name.to_owned();
        let mode = 0o666;
        self.topics.push(TopicRecord { id, name, group, head, first: 1, change, mode, ..TopicRecord::default() });
    }

    /// Says what a topic's values are called.
    fn calls(&mut self, id: u32, type_name: &str) {
        let change = self.topics.iter().map(|topic| topic.change).max().unwrap_or_default() + 1;
        let topic = self.topics.iter_mut().find(|topic| topic.id == id).unwrap();
        (topic.type_name, topic.change) = (type_name.parse().ok(), change);
        self.announce(&[(id, 0)]);
    }

    fn open(&mut self, filter: &str) -> (Outlet, Receiver<Result<Opened, Refused>>) {
        self.open_as(filter, None)
    }

    fn open_as(&mut self, filter: &str, type_name: Option<TypeName>) -> (Outlet, Receiver<Result<Opened, Refused>>) {
        let (inlet, outlet) = inlet(Overflow::CatchUp, 100, Arc::new(|| ()));
        let (opener, opened) = bounded(1);
        let filter = Filter::new(filter).unwrap();
        self.client.open(Opening { filter, start: Start::Live, resume: None, type_name, inlet, opener }, self.now);
        self.serve();
        (outlet, opened)
    }

    fn subscribe(&mut self, filter: &str) -> Outlet {
        self.subscribe_as(filter, None)
    }

    fn subscribe_as(&mut self, filter: &str, type_name: Option<TypeName>) -> Outlet {
        let (outlet, opened) = self.open_as(filter, type_name);
        opened.try_recv().unwrap().unwrap();
        // It knows the newest topic, and has looked at all heads.
        self.announce(&[]);
        self.client.missed(self.now);
        self.serve();
        self.joins.clear();
        self.asked.clear();
        outlet
    }

    /// Does what the client wants, and answers what it asks.
    fn serve(&mut self) {
        while let Some(output) = self.client.next_output() {
            match output {
                Output::Send(request) => {
                    let reply = self.answer(&request);
                    self.client.replies(&reply.into(), self.now);
                }
                Output::Join(group) => {
                    if let Some((_, errno)) = self.shut.iter().find(|(shut, _)| *shut == group) {
                        self.client.join_failed(group, *errno, self.now);
                    }
                    self.joins.push(Output::Join(group));
                }
                Output::Leave(_) => self.joins.push(output),
                _ => {}
            }
        }
    }

    fn answer(&mut self, request: &[u8]) -> Vec<u8> {
        let message = Messages::new(request).next().unwrap().unwrap();
        let (to, mut reply) = (message.header, Vec::new());
        match to.kind {
            NLBUS_MSG_TOPIC => match TopicRequest::check(to.flags, message.body).unwrap() {
                TopicRequest::Get(key) => {
                    self.asked.push(format!("{key:?}"));
                    let is = |topic: &&TopicRecord| match key {
                        TopicKey::Name(name) => topic.name == name,
                        TopicKey::Id(id) => topic.id == id,
                    };
                    match self.topics.iter().find(is) {
                        None => push_refusal(&mut reply, to, 16, &Refusal::new(Errno::ENOENT, "gone")),
                        Some(topic) if self.denied.contains(&topic.id) => {
                            push_refusal(&mut reply, to, 16, &Refusal::new(Errno::EACCES, "denied"));
                        }
                        Some(topic) => topic.push(&mut reply, to, false),
                    }
                }
                TopicRequest::List { since, .. } => {
                    self.asked.push(format!("list since {since:?}"));
                    let shown = |topic: &&TopicRecord| !self.denied.contains(&topic.id);
                    self.topics.iter().filter(shown).for_each(|topic| topic.push(&mut reply, to, true));
                    let last = self.topics.iter().map(|topic| topic.id).max().unwrap_or(3);
                    TopicPageEnd::new(last, 100, self.moved, None).push(&mut reply, to);
                }
                other => panic!("{other:?}"),
            },
            NLBUS_MSG_REPLAY => {
                let ReplayRequest { topic_id, from, .. } = ReplayRequest::check(message.body).unwrap();
                self.asked.push(format!("replay {topic_id} from {from}"));
                if self.denied.contains(&topic_id) {
                    push_refusal(&mut reply, to, 16, &Refusal::new(Errno::EACCES, "denied"));
                    return reply;
                }
                let Some(topic) = self.topics.iter().find(|topic| topic.id == topic_id) else {
                    push_refusal(&mut reply, to, 16, &Refusal::new(Errno::ENOENT, "gone"));
                    return reply;
                };
                for seq in from..=topic.head {
                    let event = EventHeader { seq, topic_id, ..Default::default() };
                    let header = Header { kind: NLBUS_MSG_EVENT, flags: NLM_F_MULTI, ..to };
                    push_event(&mut reply, header, &event, &topic.name, b"");
                }
                let (next, head) = (topic.head + 1, topic.head);
                ReplayEnd { topic_id, first: 1, next, head }.push(&mut reply, to);
            }
            _ => {
                let mut info = crate::wire::Info { epoch: 1, ..Default::default() };
                info.counters.moved = self.moved;
                crate::wire::push_info(&mut reply, to, &info);
            }
        }
        reply
    }

    /// Says something in the broker's own group.
    fn say(&mut self, topic: &str, topic_id: u32, payload: &[u8]) {
        let mut datagram = Vec::new();
        let event = EventHeader { seq: 1, topic_id, ..Default::default() };
        push_event(
            &mut datagram,
            Header { kind: NLBUS_MSG_EVENT, seq: 1, ..Default::default() },
            &event,
            topic,
            payload,
        );
        self.client.events(&datagram.into(), false, self.now);
        self.client.finish(self.now);
        self.serve();
    }

    /// Names topics that moved or, with a number, ended before it.
    fn announce(&mut self, named: &[(u32, u64)]) {
        let last_id = self.topics.iter().map(|topic| topic.id).max().unwrap_or(3);
        self.moved += named.len() as u64;
        let topics = named.iter().map(|(id, end)| MovedTopic { id: *id, end: *end }).collect();
        let said = TopicsAnnouncement { last_id, moved: self.moved, topics };
        self.say(NLBUS_SYS_TOPICS, 2, &said.to_bytes());
    }

    fn beat(&mut self) {
        let beat = Heartbeat { epoch: 1, last_id: 4, moved: self.moved, ..Heartbeat::default() };
        self.say(NLBUS_SYS_HEARTBEAT, 1, &beat.to_bytes());
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.client.tick(self.now);
        self.serve();
    }
}

fn read(outlet: &Outlet) -> Vec<String> {
    let shown = |delivery| match delivery {
        Delivery::Event(event) => format!("{} {}", event.topic(), event.seq()),
        Delivery::Lost(lost) => format!("{} lost {}-{}", lost.topic, lost.from, lost.to),
        Delivery::Ended(ended) => format!("{} {} {}", ended.topic, ended.reason.as_str(), ended.last),
        Delivery::Restarted(_) => "restarted".into(),
    };
    outlet.batches.try_iter().flatten().map(shown).collect()
}

#[test]
fn a_topic_is_followed_to_another_group_and_nothing_is_missed() {
    for filter in ["a", "#"] {
        let mut broker = Broker::new();
        let outlet = broker.subscribe(filter);
        // Two events came and went in the new group.
        broker.has(4, "a", 700, 4);
        broker.announce(&[(4, 0)]);
        assert_eq!(broker.joins, [Output::Join(700), Output::Leave(3)], "the new one first");
        assert_eq!(read(&outlet), ["a 3", "a 4"]);
        let looks = broker.asked.iter().filter(|asked| *asked == "Id(4)").count();
        assert_eq!(looks, 2, "once more behind the joining: {:?}", broker.asked);
    }
}

#[test]
fn an_old_answer_leads_back_to_no_old_group() {
    let mut broker = Broker::new();
    let _outlet = broker.subscribe("#");
    let old = broker.topics[0].clone();
    broker.has(4, "a", 700, 2);
    broker.topics[0].change = old.change + 1;
    broker.announce(&[(4, 0)]);
    broker.joins.clear();
    broker.client.sought(&old, broker.now);
    broker.serve();
    assert_eq!(broker.joins, []);
}

#[test]
fn topics_that_nobody_wants_are_not_asked_for() {
    let mut broker = Broker::new();
    let _outlet = broker.subscribe("a");
    broker.announce(&[(77, 0), (78, 9)]);
    assert_eq!(broker.asked, [""; 0]);
    let _all = broker.subscribe("#");
    broker.announce(&[(77, 0), (78, 9)]);
    assert_eq!(broker.asked, ["Id(77)"]);
}

#[test]
fn many_topics_at_once_are_looked_at_together() {
    let mut broker = Broker::new();
    let _outlet = broker.subscribe("#");
    let named: Vec<_> = (100..=100 + SEEKS as u32).map(|id| (id, 0)).collect();
    broker.announce(&named);
    assert_eq!(broker.asked, ["list since Some(0)"]);
}

#[test]
fn a_deleted_topic_ends_with_what_it_had() {
    let mut broker = Broker::new();
    let outlet = broker.subscribe("#");
    broker.topics.clear();
    broker.announce(&[(4, 6)]);
    assert_eq!(read(&outlet), ["a lost 3-5", "a deleted 5"]);
    assert_eq!((broker.client.counters.lost, &broker.joins[..]), (3, &[Output::Leave(3)][..]));
    assert!(broker.client.registry.topics.is_empty());
    // An answer that is late doesn't bring it back.
    let old = TopicRecord { id: 4, name: "a".into(), group: 3, head: 2, first: 1, ..TopicRecord::default() };
    broker.client.sought(&old, broker.now);
    assert!(broker.client.registry.topics.is_empty());
    // And another one of its name is read from its first event.
    broker.has(5, "a", 9, 1);
    broker.announce(&[]);
    assert_eq!(read(&outlet), ["a 1"]);
    broker.pass(Duration::from_secs(10));
    let ended = &broker.client.ended;
    assert!(ended.deadline().is_none() && ended.by_id.is_empty(), "nothing is remembered for ever: {ended:?}");
}

#[test]
fn whoever_missed_an_announcement_hears_of_it_by_the_count() {
    let mut broker = Broker::new();
    let outlet = broker.subscribe("#");
    broker.has(5, "b", 8, 0);
    broker.announce(&[]);
    broker.beat();
    assert!(!broker.asked.contains(&"list since Some(0)".to_owned()), "nothing was missed: {:?}", broker.asked);
    broker.topics.retain(|topic| topic.id != 4);
    broker.moved += 1;
    broker.beat();
    assert_eq!(read(&outlet), [""; 0], "its last events may still come");
    live(&mut broker.client, 4, 3);
    broker.pass(Duration::from_secs(3));
    assert_eq!(read(&outlet), ["a 3", "a deleted 3"]);
    broker.asked.clear();
    broker.beat();
    assert_eq!(broker.asked, [""; 0], "it knows now");
}

#[test]
fn a_new_topic_of_a_name_ends_the_one_before() {
    let mut broker = Broker::new();
    let outlet = broker.subscribe("a");
    broker.topics.clear();
    broker.has(5, "a", 9, 1);
    // As if the announcement of its end had been lost.
    broker.announce(&[]);
    assert_eq!(read(&outlet), ["a deleted 2", "a 1"]);
}

#[test]
fn a_topic_that_may_not_be_read_any_more_ends_and_may_come_back() {
    for filter in ["a", "#"] {
        let mut broker = Broker::new();
        let outlet = broker.subscribe(filter);
        broker.denied.push(4);
        broker.announce(&[(4, 0)]);
        assert_eq!(read(&outlet), ["a denied 2"]);
        broker.has(4, "a", 700, 9);
        broker.announce(&[(4, 0)]);
        assert_eq!(read(&outlet), [""; 0], "still denied");
        broker.denied.clear();
        broker.announce(&[(4, 0)]);
        assert!(broker.joins.ends_with(&[Output::Join(700)]));
        live(&mut broker.client, 4, 10);
        assert_eq!(read(&outlet), ["a 10"]);
    }
}

#[test]
fn a_denied_replay_ends_it_too() {
    let mut broker = Broker::new();
    let outlet = broker.subscribe("a");
    broker.denied.push(4);
    live(&mut broker.client, 4, 5);
    broker.serve();
    assert_eq!(read(&outlet), ["a lost 3-5", "a denied 5"]);
}

/// He is told of it, since he can change its mode; but not given anything, before a replay says that he may.
#[test]
fn an_owner_who_may_not_read_is_given_nothing() {
    let mut broker = Broker::new();
    let outlet = broker.subscribe("a");
    broker.topics[0].mode = 0o266;
    broker.topics[0].change += 1;
    broker.client.track(&broker.topics[0].clone(), broker.now);
    live(&mut broker.client, 4, 3);
    assert_eq!(read(&outlet), [""; 0], "not before that is known");
    broker.topics[0].head = 3;
    broker.serve();
    assert_eq!(read(&outlet), ["a 3"], "root, say");
    broker.topics[0].mode = 0o666;
    broker.announce(&[(4, 0)]);
    broker.topics[0].mode = 0o266;
    broker.topics[0].change += 1;
    broker.client.track(&broker.topics[0].clone(), broker.now);
    broker.denied.push(4);
    broker.client.finish(broker.now);
    broker.serve();
    assert_eq!(read(&outlet), ["a denied 3"]);
}

/// It moved between the answer and the joining.
#[test]
fn a_group_that_is_over_is_looked_for_again() {
    let mut broker = Broker::new();
    broker.shut.push((3, Errno::ENOENT));
    let (_outlet, opened) = broker.open("a");
    assert!(opened.try_recv().unwrap().is_ok(), "its second look may find it");
    let mut broker = Broker::new();
    let outlet = broker.subscribe("#");
    broker.has(4, "a", 700, 2);
    broker.shut.push((700, Errno::ENOENT));
    let before = broker.joins.len();
    broker.client.registry.track(&broker.topics[0], &mut broker.client.outputs);
    broker.has(4, "a", 800, 3);
    broker.topics[0].change += 9;
    broker.serve();
    assert!(broker.joins[before..].contains(&Output::Join(800)), "{:?}", broker.joins);
    assert_eq!(read(&outlet), ["a 3"]);
}

#[test]
fn a_group_that_stays_shut_is_a_denial() {
    let mut broker = Broker::new();
    let outlet = broker.subscribe("#");
    broker.has(4, "a", 700, 2);
    broker.shut.push((700, Errno::EACCES));
    broker.announce(&[(4, 0)]);
    assert_eq!(read(&outlet), ["a denied 2"]);
    assert!(broker.client.registry.topics.is_empty());
    // Nobody asks for it for ever.
    assert!(broker.asked.len() < 10, "{:?}", broker.asked);
}

#[test]
fn what_may_not_be_read_is_not_subscribed_to() {
    let mut broker = Broker::new();
    broker.denied.push(4);
    let (_outlet, opened) = broker.open("a");
    let refused = opened.try_recv().unwrap().unwrap_err();
    assert!(matches!(refused, Refused::Broker(refusal) if refusal.errno == Errno::EACCES));
    let (_outlet, opened) = broker.open("#");
    assert!(opened.try_recv().unwrap().is_ok());
    assert!(broker.client.registry.topics.is_empty());
}

#[test]
fn the_reasons_have_words() {
    let reasons = [EndReason::Deleted, EndReason::Denied, EndReason::OtherType];
    assert_eq!(reasons.map(EndReason::as_str), ["deleted", "denied", "other type"]);
}

#[test]
fn a_topic_goes_over_to_those_of_its_type() {
    let mut broker = Broker::new();
    let [first, second] = ["First", "Second"].map(|name| name.parse::<TypeName>().ok());
    let (of_first, of_second) = (broker.subscribe_as("#", first), broker.subscribe_as("a", second));
    // Whose type it has follows it; whose it hasn't is told once.
    broker.calls(4, "First");
    broker.announce(&[(4, 0)]);
    assert_eq!((read(&of_first), read(&of_second)), (vec![], vec!["a other type 2".to_owned()]));
    // It changes hands in one look, and isn't let go of in between.
    broker.has(4, "a", 3, 5);
    broker.joins.clear();
    broker.calls(4, "Second");
    assert_eq!(broker.joins, []);
    assert_eq!((read(&of_first), read(&of_second)), (vec!["a lost 3-5".to_owned(), "a other type 5".into()], vec![]));
    let of_any = broker.subscribe("a");
    broker.has(4, "a", 3, 6);
    broker.calls(4, "Second");
    assert_eq!(
        [read(&of_first), read(&of_second), read(&of_any)],
        [vec![], vec!["a 6".to_owned()], vec!["a 6".into()]]
    );
    drop(of_any);
    broker.has(4, "a", 3, 7);
    broker.calls(4, "Second");
    assert_eq!((read(&of_first), read(&of_second)), (vec![], vec!["a 7".to_owned()]));
    // Nobody is left: its group is, too.
    broker.joins.clear();
    broker.calls(4, "Third");
    assert_eq!(read(&of_second), ["a other type 7"]);
    assert_eq!(broker.joins, [Output::Leave(3)]);
    assert!(broker.client.registry.topics.is_empty());
    // Until it has the right type again, and from then on.
    broker.calls(4, "First");
    broker.has(4, "a", 3, 8);
    broker.calls(4, "First");
    assert_eq!(read(&of_first), ["a 8"]);
}

#[test]
fn a_subscription_to_another_type_does_not_open() {
    let mut broker = Broker::new();
    broker.calls(4, "First");
    let second = "Second".parse::<TypeName>().ok();
    for filter in ["a", "#"] {
        let (_, opened) = broker.open_as(filter, second);
        let refused = opened.try_recv().unwrap().unwrap_err();
        assert!(matches!(&refused, Refused::OtherType(mismatch) if mismatch.topic == "a"), "{refused:?}");
    }
    assert!(broker.client.registry.subscribers.is_empty() && broker.client.registry.topics.is_empty());
    broker.has(4, "a", 3, 2);
    broker.subscribe_as("a", second);
}

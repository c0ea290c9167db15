//! Promise 8 on the wire: what is announced of topics that change and end, which group a topic has, and who may join it.

use nix::errno::Errno;
use nlbus::wire::uapi::*;
use nlbus::wire::{
    Content, EventView, Heartbeat, Info, MovedTopic, ReplayRequest, TopicDeleted, TopicKey, TopicPageEnd, TopicRequest,
    TopicSettings, TopicsAnnouncement, push_info_request, push_publish,
};
use nlbus::{BrokerKind, Bus, TopicRecord};
use nlbus_tests::{Datagram, Endpoint, Fixture, OtherSocket, RawClient, broker_kind, cases};
use std::collections::VecDeque;

cases![
    what_is_deleted_is_gone_and_its_name_is_free,
    what_was_accepted_before_the_end_is_broadcast,
    changes_and_ends_are_announced_and_counted,
    a_topic_that_changed_and_went_is_named_once,
    many_ends_are_announced_in_several_events_that_add_up,
    nothing_moves_between_groups_that_guard_nothing user_only,
    topics_that_everybody_may_read_share_groups_and_others_have_their_own module_only,
    a_private_group_lets_in_who_may_read module_only,
    tightening_moves_a_topic_and_loosening_leaves_it module_only,
    a_new_owner_or_group_moves_what_not_all_may_read module_only,
    a_group_that_is_over_lets_nobody_in module_only,
    who_was_in_the_old_group_sees_nothing_more module_only,
];

fn delete(key: TopicKey<'_>) -> Vec<u8> {
    let mut frame = Vec::new();
    TopicRequest::Delete(key).push(&mut frame, 7);
    frame
}

fn errno(answer: &Datagram) -> Option<Errno> {
    let message = answer.messages()[0];
    (message.header.kind == NLMSG_ERROR).then(|| answer.answer().result.err().map(|refusal| refusal.errno)).flatten()
}

fn info(raw: &RawClient) -> Info {
    let mut request = Vec::new();
    push_info_request(&mut request, 1);
    Info::read(raw.ask(&request).messages()[0].body).unwrap()
}

/// The events of a broadcast: topic, id, number, payload.
fn broadcast(datagram: &Datagram) -> Vec<(String, u32, u64, Vec<u8>)> {
    let events = datagram.messages().into_iter().map(|message| EventView::parse(message.body).unwrap());
    events
        .map(|event| (event.topic.to_owned(), event.header.topic_id, event.header.seq, event.payload.to_vec()))
        .collect()
}

/// A member of the broker's own group, and what it has heard there.
struct Listener {
    raw: RawClient,
    /// Topics and payloads that it hasn't looked at.
    heard: VecDeque<(String, Vec<u8>)>,
    /// Topics named so far.
    moved: u64,
}

impl Listener {
    fn new(fixture: &Fixture) -> Listener {
        let raw = fixture.raw();
        raw.join(NLBUS_GROUP_SYS).unwrap();
        Listener { raw, heard: VecDeque::new(), moved: info(&fixture.raw()).counters.moved }
    }

    /// The payload of the next event of a topic.
    fn next(&mut self, wanted: &str) -> Vec<u8> {
        loop {
            while let Some((topic, payload)) = self.heard.pop_front() {
                if topic == wanted {
                    return payload;
                }
            }
            self.heard
                .extend(broadcast(&self.raw.receive()).into_iter().map(|(topic, _, _, payload)| (topic, payload)));
        }
    }

    /// The next announcement that names topics. All of them are checked.
    fn named(&mut self) -> Vec<MovedTopic> {
        loop {
            let said = TopicsAnnouncement::read(&self.next(NLBUS_SYS_TOPICS)).unwrap();
            assert_eq!(said.moved, self.moved + said.topics.len() as u64, "{said:?}");
            self.moved = said.moved;
            if !said.topics.is_empty() {
                return said.topics;
            }
        }
    }
}

fn what_is_deleted_is_gone_and_its_name_is_free() {
    let fixture = Fixture::new();
    let (bus, raw) = (fixture.connect(), fixture.raw());
    let epoch = bus.info().unwrap().epoch;
    for (at, by_id) in [false, true].into_iter().enumerate() {
        for number in 1..=3 {
            assert_eq!(bus.publish_acked("x", "old").unwrap(), number);
        }
        let id = bus.topic("x").unwrap().expect("a topic").id;
        let answer = raw.ask(&delete(if by_id { TopicKey::Id(id) } else { TopicKey::Name("x") }));
        let message = answer.messages()[0];
        assert_eq!((message.header.kind, message.header.flags, message.header.seq), (NLBUS_MSG_TOPIC, 0, 7));
        assert_eq!(TopicDeleted::read(message.body), Ok(TopicDeleted { id }));
        assert_eq!(bus.topic("x").unwrap(), None);
        assert!(bus.topics().unwrap().iter().all(|topic| topic.name != "x"));
        let mut replay = Vec::new();
        ReplayRequest { epoch, topic_id: id, from: 1, limit: None }.push(&mut replay, 1);
        let mut look = Vec::new();
        TopicRequest::Get(TopicKey::Id(id)).push(&mut look, 1);
        for frame in [replay, look, delete(TopicKey::Name("x")), delete(TopicKey::Id(id))] {
            assert_eq!(errno(&raw.ask(&frame)), Some(Errno::ENOENT), "round {at}");
        }
        assert_eq!(bus.publish_acked("x", "new").unwrap(), 1, "another topic");
        let again = bus.topic("x").unwrap().expect("a topic");
        assert!(again.id > id && (again.first, again.head) == (1, 1), "{again:?} after {id}");
        bus.delete_topic("x").unwrap();
        let made = bus.topic_options("x").mode(0o600).create_new().unwrap();
        assert!(made.id > again.id && made.mode == 0o600 && made.head == 0, "{made:?}");
        bus.delete_topic("x").unwrap();
    }
}

/// Publishes and the deletion are one datagram, so nothing is broadcast between them.
fn what_was_accepted_before_the_end_is_broadcast() {
    let fixture = Fixture::new();
    let (bus, raw, member) = (fixture.connect(), fixture.raw(), fixture.raw());
    for round in 1..=20 {
        let topic = bus.create_topic("x").unwrap();
        member.join(topic.group).unwrap();
        let mut frame = Vec::new();
        for number in 1..=5u8 {
            push_publish(&mut frame, u32::from(number), false, 0, Content::Opaque, "x", &[number]);
        }
        frame.extend(delete(TopicKey::Name("x")));
        let answer = raw.ask(&frame);
        assert_eq!(TopicDeleted::read(answer.messages()[0].body), Ok(TopicDeleted { id: topic.id }), "round {round}");
        let mut seen = Vec::new();
        while seen.len() < 5 {
            seen.extend(broadcast(&member.receive()).into_iter().filter(|event| event.1 == topic.id));
        }
        let want: Vec<_> = (1..=5u8).map(|at| ("x".to_owned(), topic.id, u64::from(at), vec![at])).collect();
        assert_eq!(seen, want);
    }
}

fn changes_and_ends_are_announced_and_counted() {
    let fixture = Fixture::new();
    let bus = fixture.connect();
    let (a, b) = (bus.create_topic("a").unwrap(), bus.create_topic("b").unwrap());
    for _ in 0..3 {
        bus.publish_acked("b", "x").unwrap();
    }
    let mut listener = Listener::new(&fixture);
    for settings in
        [bus.topic_options("a").mode(0o600), bus.topic_options("a").owner(5), bus.topic_options("a").mode(0o666)]
    {
        settings.set().unwrap();
        assert_eq!(listener.named(), [MovedTopic { id: a.id, end: 0 }]);
    }
    // Neither who may use it nor who owns it: nothing is said.
    bus.set_history("a", 5000).unwrap();
    bus.topic_options("a").mode(0o666).owner(5).set().unwrap();
    bus.delete_topic("b").unwrap();
    assert_eq!(listener.named(), [MovedTopic { id: b.id, end: 4 }]);
    assert_eq!(bus.info().unwrap().counters.moved, listener.moved);
    let mut list = Vec::new();
    TopicRequest::List { cursor: 0, since: None }.push(&mut list, 1);
    let page = fixture.raw().ask(&list);
    let end = TopicPageEnd::read(page.messages().last().expect("an end").body).unwrap();
    assert_eq!(end.moved, listener.moved);
    let beat = Heartbeat::read(&listener.next(NLBUS_SYS_HEARTBEAT)).unwrap();
    assert_eq!(beat.moved, listener.moved);
}

/// One datagram, so that nothing is announced in between, mostly.
fn a_topic_that_changed_and_went_is_named_once() {
    let fixture = Fixture::new();
    let (bus, raw) = (fixture.connect(), fixture.raw());
    let (a, b) = (bus.create_topic("a").unwrap(), bus.create_topic("b").unwrap());
    let mut listener = Listener::new(&fixture);
    let change = |key, mode| {
        let mut frame = Vec::new();
        let settings = TopicSettings { mode: Some(mode), ..Default::default() };
        TopicRequest::Change { key, settings }.push(&mut frame, 1);
        frame
    };
    let (by_a, by_b) = (TopicKey::Id(a.id), TopicKey::Id(b.id));
    let frame = [change(by_a, 0o644), change(by_b, 0o644), change(by_a, 0o666), delete(by_b)].concat();
    raw.send(Endpoint::Request, &frame);
    // A slow machine may take longer for the datagram than the module waits between two announcements.
    let (moved, ended) = (MovedTopic { id: a.id, end: 0 }, MovedTopic { id: b.id, end: 1 });
    let mut named = listener.named();
    while !named.contains(&ended) {
        assert_eq!(broker_kind(), BrokerKind::Module, "{named:?}");
        assert_eq!(named, [moved]);
        named = listener.named();
    }
    named.sort_by_key(|topic| topic.id);
    assert!(named == [moved, ended] || (broker_kind() == BrokerKind::Module && named == [ended]), "{named:?}");
    bus.delete_topic("a").unwrap();
    assert_eq!(listener.named(), [MovedTopic { id: a.id, end: 1 }]);
}

fn many_ends_are_announced_in_several_events_that_add_up() {
    const TOPICS: usize = 600;
    let fixture = Fixture::new();
    let (bus, raw) = (fixture.connect(), fixture.raw());
    let mut ids: Vec<_> = (0..TOPICS).map(|at| bus.create_topic(&format!("t/{at}")).unwrap().id).collect();
    let mut listener = Listener::new(&fixture);
    let frame: Vec<u8> = ids.iter().flat_map(|id| delete(TopicKey::Id(*id))).collect();
    raw.send(Endpoint::Request, &frame);
    let mut named = Vec::new();
    while named.len() < TOPICS {
        let topics = listener.named();
        assert!(topics.len() <= 1024 && topics.iter().all(|topic| topic.end == 1), "{} at once", topics.len());
        named.extend(topics.into_iter().map(|topic| topic.id));
    }
    named.sort_unstable();
    ids.sort_unstable();
    assert_eq!(named, ids);
    for _ in 0..TOPICS {
        raw.receive();
    }
}

fn nothing_moves_between_groups_that_guard_nothing() {
    let fixture = Fixture::new();
    let bus = fixture.connect();
    assert_eq!(bus.info().unwrap().limits.private_groups, 0);
    let group = bus.create_topic("x").unwrap().group;
    assert_eq!(bus.topic_options("x").mode(0o600).owner(5).set().unwrap().group, group);
    assert_eq!(bus.info().unwrap().counters.private_groups, 0);
}

/// Private groups that were used.
fn used(bus: &Bus) -> u64 {
    bus.info().unwrap().counters.private_groups
}

fn topics_that_everybody_may_read_share_groups_and_others_have_their_own() {
    let fixture = Fixture::new();
    let bus = fixture.connect();
    let before = used(&bus);
    let (limits, groups) = (bus.info().unwrap().limits, bus.info().unwrap().groups);
    assert!((1..groups).contains(&limits.private_groups), "{limits:?}");
    let shared: Vec<_> = (0..3 * groups).map(|at| bus.create_topic(&format!("s/{at}")).unwrap().group).collect();
    assert_eq!(used(&bus), before);
    let modes = [0o600, 0o640, 0o622, 0o466, 0o660, 0o000];
    let private: Vec<TopicRecord> = modes
        .iter()
        .map(|mode| bus.topic_options(&format!("p/{mode:o}")).mode(*mode).create_new().unwrap())
        .filter(|topic| topic.mode & 0o444 != 0o444)
        .collect();
    assert_eq!(private.len(), 5, "0466 can be read by everybody");
    assert_eq!(used(&bus), before + 5);
    for topic in &private {
        assert!(!shared.contains(&topic.group), "{topic:?}");
        assert_eq!(private.iter().filter(|other| other.group == topic.group).count(), 1, "{topic:?}");
        assert!((NLBUS_GROUP_FIRST..=groups).contains(&topic.group), "{topic:?}");
    }
}

fn a_private_group_lets_in_who_may_read() {
    let fixture = Fixture::new();
    let bus = fixture.connect();
    let who: [&[&str]; 4] = [&["uid=1000"], &["uid=1001", "gid=1000"], &["uid=65534"], &[]];
    for (mode, denied) in [
        (0o600, [None, Some(Errno::EACCES), Some(Errno::EACCES), None]),
        (0o640, [None, None, Some(Errno::EACCES), None]),
        (0o044, [Some(Errno::EACCES), None, None, None]),
        // Publishing is no reading.
        (0o222, [Some(Errno::EACCES), Some(Errno::EACCES), Some(Errno::EACCES), None]),
        (0o444, [None; 4]),
    ] {
        let options = bus.topic_options(&format!("{mode:o}")).mode(mode).owner(1000).group(1000);
        let group = options.create_new().unwrap().group;
        for (words, denied) in who.iter().zip(denied) {
            assert_eq!(fixture.socket_of(words).join(group).err(), denied, "{mode:o} by {words:?}");
        }
    }
}

fn tightening_moves_a_topic_and_loosening_leaves_it() {
    let fixture = Fixture::new();
    let bus = fixture.connect();
    let mut group = bus.create_topic("x").unwrap().group;
    let mut before = used(&bus);
    for (mode, moves) in [
        (0o644, false), // who may publish has nothing to do with it
        (0o640, true),
        (0o600, true),
        (0o602, false),
        (0o640, false),
        (0o444, false),
        (0o466, false),
        (0o266, true),
        (0o266, false),
        (0o666, false),
    ] {
        let set = bus.topic_options("x").mode(mode).set().unwrap();
        assert_eq!((set.group != group, used(&bus) - before), (moves, u64::from(moves)), "{mode:o}: {set:?}");
        (group, before) = (set.group, used(&bus));
    }
}

fn a_new_owner_or_group_moves_what_not_all_may_read() {
    let fixture = Fixture::new();
    let bus = fixture.connect();
    let mut group = bus.topic_options("x").mode(0o644).create().unwrap().group;
    let step = |options: nlbus::TopicOptions<'_>, moves: bool, group: &mut u32| {
        let set = options.set().unwrap();
        assert_eq!(set.group != *group, moves, "{set:?}");
        *group = set.group;
    };
    step(bus.topic_options("x").owner(5).group(6), false, &mut group);
    step(bus.topic_options("x").mode(0o640), true, &mut group);
    step(bus.topic_options("x").owner(7), true, &mut group);
    step(bus.topic_options("x").group(8), true, &mut group);
    step(bus.topic_options("x").owner(7).group(8), false, &mut group);
}

fn a_group_that_is_over_lets_nobody_in() {
    let fixture = Fixture::new();
    let (bus, raw) = (fixture.connect(), fixture.raw());
    let join = |group| raw.join(group).err().and_then(|error| error.raw_os_error()).map(Errno::from_raw);
    let first = bus.topic_options("x").mode(0o640).create().unwrap().group;
    assert_eq!(join(first), None);
    let second = bus.topic_options("x").mode(0o600).set().unwrap().group;
    assert_eq!((join(first), join(second)), (Some(Errno::ENOENT), None), "root is let in by no group of nothing");
    bus.delete_topic("x").unwrap();
    assert_eq!(join(second), Some(Errno::ENOENT));
    // Never again, whatever comes.
    let later: Vec<_> =
        (0..20).map(|at| bus.topic_options(&format!("y/{at}")).mode(0o600).create().unwrap().group).collect();
    assert!(!later.contains(&first) && !later.contains(&second), "{first} and {second} in {later:?}");
}

/// Members can't be evicted, so it is the topic that goes.
fn who_was_in_the_old_group_sees_nothing_more() {
    let fixture = Fixture::new();
    let bus = fixture.connect();
    let public = bus.create_topic("x").unwrap();
    let private = bus.topic_options("y").mode(0o640).group(65534).create().unwrap();
    let mut socket: OtherSocket = fixture.socket_of(&["uid=65534"]);
    for topic in [&public, &private] {
        socket.join(topic.group).unwrap();
        bus.publish_acked(&topic.name, "seen").unwrap();
        assert_eq!(broadcast(&socket.receive())[0].3, b"seen");
    }
    for topic in [&public, &private] {
        bus.topic_options(&topic.name).mode(0o600).set().unwrap();
        bus.publish_acked(&topic.name, "not seen").unwrap();
    }
    // What comes next to the socket is its own.
    let mut request = Vec::new();
    push_info_request(&mut request, 5);
    let answer = socket.ask(Endpoint::Request, &request);
    assert_eq!(answer.messages()[0].header.kind, NLBUS_MSG_INFO, "{answer:?}");
    assert_eq!(bus.topic("x").unwrap().map(|topic| (topic.head, topic.mode)), Some((2, 0o600)));
}

//! Owner, group and mode, and the end of topics. The client of port `n` is user `n + 2` in group `n + 3`.

use super::*;

const OWNER: u32 = 50;
const STRANGER: u32 = 60;
/// Root is user 0: of the port two below, with some wrapping.
const ROOT: u32 = u32::MAX - 1;

fn settings(mode: u32) -> TopicSettings {
    TopicSettings { mode: Some(mode), ..TopicSettings::default() }
}

fn frame(request: TopicRequest<'_>) -> Vec<u8> {
    let mut datagram = Vec::new();
    request.push(&mut datagram, 9);
    datagram
}

fn replay(topic_id: u32) -> Vec<u8> {
    let mut datagram = Vec::new();
    ReplayRequest { epoch: EPOCH, topic_id, from: 1, limit: None }.push(&mut datagram, 9);
    datagram
}

fn create(name: &str, mode: u32) -> Vec<u8> {
    frame(TopicRequest::Create { name, exclusive: false, settings: settings(mode) })
}

fn change(name: &str, settings: TopicSettings) -> Vec<u8> {
    frame(TopicRequest::Change { key: TopicKey::Name(name), settings })
}

fn delete(name: &str) -> Vec<u8> {
    frame(TopicRequest::Delete(TopicKey::Name(name)))
}

impl Bus {
    /// What a client is told: nothing, an answer, or why not.
    fn verdict(&mut self, client: u32, datagram: &[u8]) -> Result<Option<TopicRecord>, Refusal> {
        let answers = self.ask_as(client, datagram);
        let Some(answer) = answers.first() else { return Ok(None) };
        let message = Messages::new(answer).next().unwrap().unwrap();
        match message.header.kind {
            NLMSG_ERROR => Err(read_answer(answer).result.unwrap_err()),
            _ => Ok(TopicRecord::read(message.body).ok()),
        }
    }

    fn errno(&mut self, client: u32, datagram: &[u8]) -> Option<Errno> {
        self.verdict(client, datagram).err().map(|refusal| refusal.errno)
    }

    fn listed(&mut self, client: u32) -> Vec<String> {
        let page = self.ask_as(client, &frame(TopicRequest::List { cursor: SYS_COUNT, since: None })).remove(0);
        let messages: Vec<_> = Messages::new(&page).map(Result::unwrap).collect();
        messages.iter().rev().skip(1).rev().map(|message| TopicRecord::read(message.body).unwrap().name).collect()
    }

    fn announced(&mut self) -> Vec<TopicsAnnouncement> {
        self.flush();
        let events = self.events().into_iter().filter(|event| event.topic == NLBUS_SYS_TOPICS);
        events.map(|event| TopicsAnnouncement::read(&event.payload).unwrap()).collect()
    }
}

#[test]
fn the_mode_says_who_publishes_replays_lists_and_looks() {
    let mut bus = Bus::quiet();
    for (mode, read, write) in [(0o600, false, false), (0o644, true, false), (0o622, false, true), (0o666, true, true)]
    {
        let name = format!("{mode:o}");
        let made = bus.verdict(OWNER, &create(&name, mode)).unwrap().unwrap();
        assert_eq!((made.mode, made.uid, made.gid), (mode, 52, 53));
        assert_eq!(bus.errno(OWNER, &publish(&name, b"")), None);
        for (client, read, write) in [(STRANGER, read, write), (OWNER, true, true), (ROOT, true, true)] {
            let denied = |allowed: bool| (!allowed).then_some(Errno::EACCES);
            assert_eq!(bus.errno(client, &publish(&name, b"")), denied(write), "{name} by {client}");
            assert_eq!(bus.errno(client, &replay(made.id)), denied(read), "{name} by {client}");
            for key in [TopicKey::Name(&name), TopicKey::Id(made.id)] {
                assert_eq!(bus.errno(client, &frame(TopicRequest::Get(key))), denied(read), "{name} by {client}");
            }
            assert_eq!(bus.errno(client, &create(&name, 0)), denied(read), "as of a look-up");
            assert_eq!(bus.listed(client).contains(&name), read, "{name} by {client}");
        }
        assert_eq!(bus.verdict(OWNER, &create(&name, 0)).unwrap().unwrap().mode, mode, "it stays as it was");
    }
}

#[test]
fn a_refusal_names_the_topic_as_the_request_did() {
    let mut bus = Bus::quiet();
    let id = bus.verdict(OWNER, &create("secret", 0o600)).unwrap().unwrap().id;
    let (by_name, by_id) = (TopicKey::Name("secret"), TopicKey::Id(id));
    let change = |key| frame(TopicRequest::Change { key, settings: settings(0o666) });
    for datagram in [
        publish("secret", b""),
        frame(TopicRequest::Get(by_name)),
        create("secret", 0o666),
        change(by_name),
        frame(TopicRequest::Delete(by_name)),
    ] {
        let refusal = bus.verdict(STRANGER, &datagram).unwrap_err();
        assert!(refusal.errno == Errno::EACCES && refusal.message.contains("'secret'"), "{refusal}");
    }
    let delete = frame(TopicRequest::Delete(by_id));
    for datagram in [frame(TopicRequest::Get(by_id)), replay(id), change(by_id), delete] {
        let refusal = bus.verdict(STRANGER, &datagram).unwrap_err();
        assert!(refusal.message.contains(&id.to_string()) && !refusal.message.contains("secret"), "{refusal}");
    }
}

#[test]
fn a_denied_publish_refuses_its_datagram_whole() {
    let mut bus = Bus::new(Config {
        topics_max: SYS_COUNT + 3,
        user_topics: Some(6),
        heartbeat: Duration::ZERO,
        ..Config::default()
    });
    bus.verdict(OWNER, &create("theirs", 0o600)).unwrap();
    bus.flush();
    bus.events();
    let mut datagram = Vec::new();
    for (seq, topic) in ["mine", "mine", "theirs", "theirs", "more", "too many"].into_iter().enumerate() {
        push_publish(&mut datagram, seq as u32, false, 0, Content::Opaque, topic, b"");
    }
    let answer = read_answer(&bus.ask_as(STRANGER, &datagram).remove(0));
    assert_eq!((answer.to.seq, answer.result.unwrap_err().errno), (2, Errno::EACCES));
    bus.flush();
    assert!(bus.events().is_empty() && bus.core.topics.find("mine").is_none());
    // Of who may: the limit is next.
    let answer = read_answer(&bus.ask_as(OWNER, &datagram).remove(0));
    assert_eq!((answer.to.seq, answer.result.unwrap_err().errno), (5, Errno::ENOSPC));
}

#[test]
fn new_topics_have_the_mode_that_the_broker_was_given() {
    let mut bus = Bus::new(Config { topic_mode: 0o640, heartbeat: Duration::ZERO, ..Config::default() });
    assert_eq!(bus.core.info().limits.topic_mode, 0o640);
    assert_eq!(bus.errno(OWNER, &publish("a", b"")), None);
    assert_eq!(bus.topic(TopicRequest::Get(TopicKey::Name("a"))).mode, 0o640);
    assert_eq!(bus.topic(TopicRequest::create("b")).mode, 0o640);
    assert_eq!(bus.errno(STRANGER, &publish("a", b"")), Some(Errno::EACCES));
    // One that nobody may write to isn't made by writing.
    let mut bus = Bus::new(Config { topic_mode: 0o444, heartbeat: Duration::ZERO, ..Config::default() });
    assert_eq!(bus.errno(OWNER, &publish("a", b"")), Some(Errno::EACCES));
    assert_eq!(bus.core.topics.len(), SYS_COUNT);
    assert_eq!(bus.errno(ROOT, &publish("a", b"")), None);
}

#[test]
fn a_change_is_the_owners_and_whole_or_nothing() {
    let mut bus = Bus::quiet();
    bus.verdict(OWNER, &create("a", 0o600)).unwrap();
    let none = TopicSettings::default();
    for (client, settings, errno) in [
        (STRANGER, settings(0o666), Errno::EACCES),
        (OWNER, TopicSettings { uid: Some(62), mode: Some(0o666), ..none }, Errno::EACCES),
        (OWNER, TopicSettings { gid: Some(63), mode: Some(0o666), ..none }, Errno::EACCES),
        (OWNER, TopicSettings { history: Some(u64::MAX), mode: Some(0o666), ..none }, Errno::ERANGE),
        (OWNER, none, Errno::EINVAL),
    ] {
        assert_eq!(bus.errno(client, &change("a", settings)), Some(errno), "{settings:?}");
        let created = frame(TopicRequest::Create { name: "b", exclusive: true, settings });
        if client == OWNER && errno != Errno::EINVAL {
            assert_eq!(bus.errno(client, &created), Some(errno), "{settings:?}");
        }
    }
    assert_eq!(bus.topic(TopicRequest::Get(TopicKey::Name("a"))).mode, 0o600);
    for id in 1..=3 {
        let own = TopicRequest::Change { key: TopicKey::Id(id), settings: settings(0o666) };
        assert_eq!(bus.errno(ROOT, &frame(own)), Some(Errno::EACCES), "the broker's own");
        assert_eq!(bus.errno(ROOT, &frame(TopicRequest::Delete(TopicKey::Id(id)))), Some(Errno::EACCES));
    }
    let type_name = Some(Some(crate::TypeName::of::<u64>()));
    let all = TopicSettings { mode: Some(0o640), uid: Some(62), gid: Some(9), history: Some(7), type_name };
    let changed = bus.verdict(ROOT, &change("a", all)).unwrap().unwrap();
    assert_eq!((changed.mode, changed.uid, changed.gid, changed.history), (0o640, 62, 9, 7));
    assert_eq!(Some(changed.type_name), type_name);
    assert_eq!(bus.errno(OWNER, &change("a", settings(0o666))), Some(Errno::EACCES), "it is another one's now");
    assert_eq!(bus.errno(STRANGER, &change("a", settings(0o666))), None);
}

#[test]
fn what_is_deleted_is_gone_and_its_name_is_free() {
    let mut bus = Bus::new(Config { topics_max: FIRST, heartbeat: Duration::ZERO, ..Config::default() });
    for _ in 0..3 {
        bus.accept(OWNER, &publish("a", b"old"));
    }
    assert_eq!(bus.errno(STRANGER, &delete("a")), Some(Errno::EACCES));
    let answers = bus.ask_as(OWNER, &delete("a"));
    let message = Messages::new(&answers[0]).next().unwrap().unwrap();
    assert_eq!((message.header.kind, message.header.seq), (NLBUS_MSG_TOPIC, 9));
    assert_eq!(TopicDeleted::read(message.body), Ok(TopicDeleted { id: FIRST }));
    for datagram in [delete("a"), replay(FIRST), frame(TopicRequest::Get(TopicKey::Id(FIRST)))] {
        assert_eq!(bus.errno(OWNER, &datagram), Some(Errno::ENOENT));
    }
    assert_eq!(bus.core.info().counters.history, 0);
    // There is room for another topic, of the same name even.
    bus.accept(STRANGER, &publish("a", b"new"));
    bus.flush();
    let seen: Vec<_> = bus.events().into_iter().filter(|event| event.topic == "a").collect();
    let seen: Vec<_> = seen.iter().map(|event| (event.header.topic_id, event.header.seq, &event.payload[..])).collect();
    let new = FIRST + 1;
    assert_eq!(seen, [(FIRST, 1, &b"old"[..]), (FIRST, 2, b"old"), (FIRST, 3, b"old"), (new, 1, b"new")]);
    assert_eq!(bus.topic(TopicRequest::Get(TopicKey::Name("a"))).uid, 62);
    assert_eq!(bus.replay(new, 1, None).0.len(), 1);
}

/// A pack that isn't sent yet may have events of a topic that goes, and of others.
#[test]
fn what_was_accepted_before_the_end_is_broadcast_and_acked() {
    let mut bus = Bus::quiet();
    // Of the same group: the user broker has 31 for topics.
    let names: Vec<_> = (0..32).map(|at| format!("t/{at}")).collect();
    for name in &names {
        bus.accept(OWNER, &publish(name, b"x"));
    }
    bus.accept(OWNER, &publish_acked("t/0", 77));
    bus.accept(OWNER, &delete("t/0"));
    bus.accept(OWNER, &publish("t/31", b"x"));
    bus.flush();
    let (mut of_0, mut of_31) = (0, 0);
    for event in bus.events() {
        of_0 += u32::from(event.topic == "t/0");
        of_31 += u32::from(event.topic == "t/31");
    }
    assert_eq!((of_0, of_31), (2, 2));
    let errors = |datagram: &&[u8]| Messages::new(datagram).flatten().any(|it| it.header.kind == NLMSG_ERROR);
    let acks = bus.unicasts.iter().map(|(_, _, datagram)| &datagram[..]).filter(errors).map(read_answer);
    let acks: Vec<_> = acks.map(|answer| (answer.to.seq, answer.result)).collect();
    assert_eq!(acks, [(77, Ok(Some(2)))]);
}

#[test]
fn what_moved_is_announced_once_and_counted() {
    let mut bus = Bus::quiet();
    for name in ["a", "b", "c"] {
        bus.accept(OWNER, &publish(name, b""));
    }
    assert_eq!(bus.announced(), [TopicsAnnouncement { last_id: FIRST + 2, moved: 0, topics: vec![] }]);
    bus.accept(OWNER, &change("a", settings(0o600)));
    bus.accept(OWNER, &change("a", settings(0o640)));
    bus.accept(OWNER, &change("b", settings(0o600)));
    bus.accept(OWNER, &delete("b"));
    // As it is, and what isn't said of it: neither moves it.
    bus.accept(OWNER, &change("c", settings(0o666)));
    bus.accept(OWNER, &change("c", TopicSettings { history: Some(5), ..TopicSettings::default() }));
    assert_eq!((bus.announced(), bus.core.info().counters.moved), (vec![], 0));
    bus.ms += 20;
    let topics = vec![MovedTopic { id: FIRST, end: 0 }, MovedTopic { id: FIRST + 1, end: 2 }];
    assert_eq!(bus.announced(), [TopicsAnnouncement { last_id: FIRST + 2, moved: 2, topics }]);
    assert_eq!(bus.core.info().counters.moved, 2);
    bus.unicasts.clear();
    let page = bus.ask(&frame(TopicRequest::List { cursor: 0, since: None })).remove(0);
    let end = Messages::new(&page).map(Result::unwrap).find(|message| message.last).unwrap();
    assert_eq!(TopicPageEnd::read(end.body).unwrap().moved, 2);
}

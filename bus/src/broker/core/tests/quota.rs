//! What one user may have of the bus. The client of port `n` is user `n + 2`.

use super::*;

const USER: u32 = 50;
const OTHER: u32 = 60;
/// Root is user 0: of the port two below, with some wrapping.
const ROOT: u32 = u32::MAX - 1;
/// And the broker's own user.
const BROKER: u32 = 70;

fn bus(topics_max: u32) -> Bus {
    Bus::new(Config { topics_max, uid: BROKER + 2, heartbeat: Duration::ZERO, ..Config::default() })
}

fn create(name: &str) -> Vec<u8> {
    let mut datagram = Vec::new();
    TopicRequest::create(name).push(&mut datagram, 9);
    datagram
}

impl Bus {
    /// What a client is refused with.
    fn refused(&mut self, client: u32, datagram: &[u8]) -> Option<Refusal> {
        let answers = self.ask_as(client, datagram);
        let message = Messages::new(answers.first()?).next()?.unwrap();
        (message.header.kind == NLMSG_ERROR).then(|| Answer::parse(&message).unwrap().result.unwrap_err())
    }

    fn delete(&mut self, name: &str) {
        let mut datagram = Vec::new();
        TopicRequest::Delete(TopicKey::Name(name)).push(&mut datagram, 9);
        assert_eq!(self.refused(ROOT, &datagram), None);
        self.flush();
        self.unicasts.clear();
    }
}

#[test]
fn a_user_has_a_quarter_unless_the_broker_is_told_otherwise() {
    let limits = bus(1000).core.info().limits;
    let (topics, history) = (limits.user_topics, limits.user_history);
    assert_eq!((topics, history), (250, Config::default().history / 4));
    assert_eq!((limits.user_queue, limits.user_private_groups), (0, 0));
    let told = Config { user_topics: Some(7), user_history: Some(8), ..Config::default() };
    let limits = Bus::new(told).core.info().limits;
    assert_eq!((limits.user_topics, limits.user_history), (7, 8));
}

#[test]
fn who_has_his_share_of_topics_is_told_so_and_others_go_on() {
    let mut bus = bus(32);
    for at in 0..8 {
        let datagram = if at % 2 == 0 { publish(&format!("u/{at}"), b"") } else { create(&format!("u/{at}")) };
        assert_eq!(bus.refused(USER, &datagram), None, "{at}");
    }
    for datagram in [publish("a/b", b""), create("a/b")] {
        let refusal = bus.refused(USER, &datagram).unwrap();
        assert_eq!(refusal.errno, Errno::EDQUOT);
        for word in ["'a/b'", "user 52", " 8 topics", "--user-topics"] {
            assert!(refusal.message.contains(word), "no {word}: {refusal}");
        }
    }
    assert_eq!(bus.refused(USER, &publish("u/1", b"")), None, "what there is goes on");
    for client in [OTHER, ROOT, BROKER] {
        assert_eq!(bus.refused(client, &publish(&format!("{client}"), b"")), None);
    }
    // It is his who created it, whoever publishes to it and owns it.
    let settings = TopicSettings { uid: Some(OTHER + 2), ..TopicSettings::default() };
    let mut given = Vec::new();
    TopicRequest::Change { key: TopicKey::Name("u/0"), settings }.push(&mut given, 9);
    assert_eq!(bus.refused(ROOT, &given), None);
    assert_eq!(bus.refused(USER, &create("a/b")).map(|refusal| refusal.errno), Some(Errno::EDQUOT));
    bus.delete("u/0");
    assert_eq!(bus.refused(USER, &create("a/b")), None);
    assert_eq!(bus.refused(USER, &create("a/c")).map(|refusal| refusal.errno), Some(Errno::EDQUOT));
}

#[test]
fn a_datagram_beyond_the_share_is_refused_whole() {
    let mut bus = bus(32);
    for at in 0..5 {
        bus.accept(USER, &publish(&format!("u/{at}"), b""));
    }
    let mut datagram = Vec::new();
    for (seq, topic) in ["a", "u/1", "b", "a", "c", "d", "c"].into_iter().enumerate() {
        push_publish(&mut datagram, seq as u32, false, 0, Content::Text, topic, b"");
    }
    let answers = bus.ask_as(USER, &datagram);
    let answer = read_answer(&answers[0]);
    let refusal = answer.result.unwrap_err();
    assert_eq!((answers.len(), answer.to.seq, refusal.errno), (1, 5, Errno::EDQUOT));
    assert!(refusal.message.contains("'d'"), "{refusal}");
    assert_eq!((bus.core.topics.len(), bus.core.topics_of(USER)), (SYS_COUNT + 5, 5));
    assert_eq!(bus.refused(OTHER, &datagram), None, "who has room");
    assert_eq!(bus.core.topics_of(OTHER), 4);
}

impl Core {
    fn topics_of(&self, port: u32) -> u32 {
        self.topics.topics_of(port + 2)
    }
}

#[test]
fn an_eighth_of_the_topics_is_left_for_the_exempt() {
    let mut bus = bus(64);
    let names: Vec<_> = (0..64).map(|at| format!("t/{at}")).collect();
    for (at, name) in names[..56].iter().enumerate() {
        assert_eq!(bus.refused(100 + at as u32, &create(name)), None);
    }
    let refusal = bus.refused(200, &create("more")).unwrap();
    assert!(refusal.errno == Errno::ENOSPC && refusal.message.contains(" 56 for all users together"), "{refusal}");
    // The broker's own are of those.
    for (name, client) in names[56..64 - SYS_COUNT as usize].iter().zip([ROOT, BROKER].into_iter().cycle()) {
        assert_eq!(bus.refused(client, &publish(name, b"")), None);
    }
    let refusal = bus.refused(ROOT, &create("more")).unwrap();
    assert!(refusal.errno == Errno::ENOSPC && refusal.message.contains("the limit is 64"), "{refusal}");
}

/// Whoever comes and goes, and in whatever order.
#[test]
fn accounts_of_users_without_topics_are_used_again() {
    let mut bus = bus(32);
    for round in 1000..2000 {
        bus.accept(round, &publish("one", b"x"));
        bus.accept(round + 1, &publish("two", b"x"));
        bus.flush();
        assert_eq!((bus.core.topics_of(round), bus.core.topics_of(round + 1)), (1, 1));
        let (first, second) = if round % 2 == 0 { ("one", "two") } else { ("two", "one") };
        bus.delete(first);
        bus.delete(second);
        assert_eq!((bus.core.topics_of(round), bus.core.topics_of(round + 1)), (0, 0));
    }
    // The exempt's, the common one, and those two.
    let slot = bus.core.create("x", bus.core.topics.get(SYS_TOPICS).access, Some(1));
    assert!(bus.core.topics.account_of(slot) < 4, "{}", bus.core.topics.account_of(slot));
}

#[test]
fn who_floods_pays_with_his_own_history() {
    let mut bus = Bus::new(Config { history: 1 << 20, topic_history: 1 << 20, ..Config::default() });
    let payload = [7; 1000];
    for client in [OTHER, ROOT, USER] {
        (0..100).for_each(|_| bus.accept(client, &publish(&format!("kept/{client}"), &payload)));
    }
    bus.flush();
    for round in 0..1000 {
        (0..4).for_each(|at| bus.accept(USER, &publish(&format!("flood/{at}"), &payload)));
        if round % 10 == 0 {
            bus.flush();
        }
    }
    // Others' publishes to what he created are kept at his expense, and his to what others created at theirs.
    (0..1000).for_each(|_| bus.accept(OTHER, &publish("flood/0", &payload)));
    (0..100).for_each(|_| bus.accept(USER, &publish(&format!("kept/{OTHER}"), &payload)));
    bus.flush();
    let record = |name: &str| bus.core.topics.record(bus.core.topics.find(name).unwrap());
    assert_eq!((record(&format!("kept/{OTHER}")).first, record(&format!("kept/{ROOT}")).first), (1, 1));
    let his: u64 = ["flood/0", "flood/1", "flood/2", "flood/3", &format!("kept/{USER}")]
        .map(|name| record(name).bytes)
        .iter()
        .sum();
    assert!(his <= 1 << 18 && his > 3 << 16, "{his}");
}

#[test]
fn newest_events_that_are_too_much_alone_are_the_last() {
    let mut bus = Bus::new(Config { history: 4 << 20, ..Config::default() });
    let payload = vec![7; 60_000];
    let mut count = 0;
    let refusal = loop {
        let refused = bus.refused(USER, &publish(&format!("u/{count}"), &payload));
        bus.flush();
        match refused {
            None => count += 1,
            Some(refusal) => break refusal,
        }
    };
    // Twice a MiB, and the one that was too much.
    assert_eq!((count, refusal.errno), (35, Errno::EDQUOT));
    for word in ["'u/35'", "user 52", "2102240", "1048576", "delete", "--user-history"] {
        assert!(refusal.message.contains(word), "no {word}: {refusal}");
    }
    let errno = |bus: &mut Bus, client, topic| bus.refused(client, &publish(topic, b"")).map(|refusal| refusal.errno);
    // To his topics, whoever publishes; and all or none.
    assert_eq!(errno(&mut bus, USER, "u/0"), Some(Errno::EDQUOT));
    assert_eq!(errno(&mut bus, OTHER, "u/0"), Some(Errno::EDQUOT));
    assert_eq!(errno(&mut bus, ROOT, "u/0"), Some(Errno::EDQUOT));
    let mut datagram = publish("other", b"");
    push_publish(&mut datagram, 2, false, 0, Content::Text, "u/1", b"");
    assert_eq!(bus.refused(OTHER, &datagram).map(|refusal| refusal.errno), Some(Errno::EDQUOT));
    assert_eq!(bus.core.topics.find("other"), None);
    // Others' go on, also by him.
    for (client, topic) in [(OTHER, "other"), (USER, "other"), (ROOT, "roots")] {
        assert_eq!(errno(&mut bus, client, topic), None);
    }
    bus.delete("u/0");
    assert_eq!(errno(&mut bus, USER, "u/1"), None);
}

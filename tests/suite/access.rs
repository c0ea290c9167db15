//! Promise 8: a topic has an owner, a group and a mode, and they say who publishes and who reads. What is refused here is
//! refused by the broker, whatever the client is.

use nix::errno::Errno;
use nlbus::wire::uapi::*;
use nlbus::wire::{
    Content, Messages, ReplayRequest, TopicDeleted, TopicKey, TopicRecord, TopicRequest, TopicSettings, push_publish,
};
use nlbus::{Bus, Refusal, RequestError};
use nlbus_tests::{Datagram, Endpoint, Fixture, OtherSocket, cases, limits, no_other_user};

cases![
    the_mode_says_who_publishes_replays_lists_and_looks,
    groups_besides_the_first_count_too module_only,
    both_who_opened_the_socket_and_who_sends_are_asked module_only,
    who_sends_is_asked_whoever_opened_the_socket,
    a_denied_publish_refuses_its_datagram_whole,
    trying_ids_tells_no_names,
    a_topic_is_made_with_what_it_is_to_be,
    a_change_is_the_owners,
    giving_away_takes_privilege,
    the_brokers_own_topics_are_read_only_for_everybody,
    what_the_broker_was_given_is_what_new_topics_have user_only,
    the_broker_says_what_new_topics_have,
];

/// Users of the sockets here: the owner, one in his group, and somebody else.
const OWNER: u32 = 1000;
const WHO: [(&str, &[&str]); 4] =
    [("owner", &["uid=1000"]), ("member", &["uid=1001", "gid=1000"]), ("stranger", &["uid=65534"]), ("root", &[])];

fn request(request: TopicRequest<'_>) -> Vec<u8> {
    let mut frame = Vec::new();
    request.push(&mut frame, 7);
    frame
}

fn publish(topic: &str) -> Vec<u8> {
    let mut frame = Vec::new();
    push_publish(&mut frame, 7, true, 0, Content::Opaque, topic, b"x");
    frame
}

fn replay(epoch: u64, topic_id: u32) -> Vec<u8> {
    let mut frame = Vec::new();
    ReplayRequest { epoch, topic_id, from: 1, limit: None }.push(&mut frame, 7);
    frame
}

fn mode(mode: u32) -> TopicSettings {
    TopicSettings { mode: Some(mode), ..TopicSettings::default() }
}

fn create(name: &str, settings: TopicSettings) -> Vec<u8> {
    request(TopicRequest::Create { name, exclusive: false, settings })
}

fn change(name: &str, settings: TopicSettings) -> Vec<u8> {
    request(TopicRequest::Change { key: TopicKey::Name(name), settings })
}

/// Why an answer says no, if it does.
fn refusal(answer: &Datagram) -> Option<Refusal> {
    (answer.messages()[0].header.kind == NLMSG_ERROR).then(|| answer.answer().result.err()).flatten()
}

fn errno(answer: &Datagram) -> Option<Errno> {
    refusal(answer).map(|refusal| refusal.errno)
}

fn record(answer: &Datagram) -> TopicRecord {
    assert_eq!(refusal(answer), None);
    TopicRecord::read(answer.messages()[0].body).unwrap()
}

/// Names of the first page of topics.
fn listed(socket: &mut OtherSocket) -> Vec<String> {
    let page = socket.ask(Endpoint::Request, &request(TopicRequest::List { cursor: 0, since: None }));
    let messages = Messages::new(&page.bytes).map(Result::unwrap).filter(|message| !message.last);
    messages.map(|message| TopicRecord::read(message.body).unwrap().name).collect()
}

fn refused(error: &RequestError) -> (Errno, String) {
    match error {
        RequestError::Refused(refusal) => (refusal.errno, refusal.message.to_string()),
        other => panic!("not refused by the broker: {other:?}"),
    }
}

/// A topic of the owner's.
fn owned(bus: &Bus, name: &str, mode: u32) -> TopicRecord {
    bus.topic_options(name).mode(mode).owner(OWNER).group(OWNER).create_new().unwrap()
}

fn the_mode_says_who_publishes_replays_lists_and_looks() {
    if no_other_user() {
        return;
    }
    let fixture = Fixture::new();
    let bus = fixture.connect();
    let epoch = bus.info().unwrap().epoch;
    let mut sockets = WHO.map(|(who, words)| (who, fixture.socket_of(words)));
    // Whether owner, member and stranger may read, and write.
    for (mode, read, write) in [
        (0o000, [false; 3], [false; 3]),
        (0o600, [true, false, false], [true, false, false]),
        (0o640, [true, true, false], [true, false, false]),
        (0o622, [true, false, false], [true, true, true]),
        (0o066, [false, true, true], [false, true, true]),
        (0o606, [true, false, true], [true, false, true]),
        (0o444, [true; 3], [false; 3]),
        (0o666, [true; 3], [true; 3]),
    ] {
        let name = format!("{mode:04o}");
        let topic = owned(&bus, &name, mode);
        assert_eq!((topic.mode, topic.uid, topic.gid), (mode, OWNER, OWNER));
        bus.publish_acked(&name, "root may").unwrap();
        for (at, (who, socket)) in sockets.iter_mut().enumerate() {
            let (read, write) = (read.get(at).is_none_or(|may| *may), write.get(at).is_none_or(|may| *may));
            // Its owner can change it, so he is told of it.
            let look = read || at == 0;
            let denied = |may: bool| (!may).then_some(Errno::EACCES);
            for (what, to, frame, may) in [
                ("publish", Endpoint::Publish, publish(&name), write),
                ("replay", Endpoint::Request, replay(epoch, topic.id), read),
                ("look up", Endpoint::Request, request(TopicRequest::Get(TopicKey::Name(&name))), look),
                ("look up by id", Endpoint::Request, request(TopicRequest::Get(TopicKey::Id(topic.id))), look),
                ("create again", Endpoint::Request, create(&name, TopicSettings::default()), look),
            ] {
                assert_eq!(errno(&socket.ask(to, &frame)), denied(may), "{who}: {what} {name}");
            }
            assert_eq!(listed(socket).contains(&name), read, "{who}: list {name}");
        }
    }
}

/// The user broker isn't told of them.
fn groups_besides_the_first_count_too() {
    let fixture = Fixture::new();
    let topic = owned(&fixture.connect(), "x", 0o660);
    for (groups, denied) in [("groups=1000", None), ("groups=7,1000,9", None), ("groups=7", Some(Errno::EACCES))] {
        let mut socket = fixture.socket_of(&["uid=1002", groups]);
        assert_eq!(errno(&socket.ask(Endpoint::Publish, &publish("x"))), denied, "{groups}");
        let look = request(TopicRequest::Get(TopicKey::Id(topic.id)));
        assert_eq!(errno(&socket.ask(Endpoint::Request, &look)), denied, "{groups}");
        assert_eq!(socket.join(topic.group).err(), denied, "{groups}");
    }
}

/// Somebody's socket in the hands of root does no more than he may: root may have been made to write to it (CVE-2014-0181).
fn both_who_opened_the_socket_and_who_sends_are_asked() {
    let fixture = Fixture::new();
    let bus = fixture.connect();
    let topic = owned(&bus, "x", 0o600);
    let epoch = bus.info().unwrap().epoch;
    let mut lent = fixture.socket_of(&["opener=65534"]);
    for (to, frame) in [
        (Endpoint::Publish, publish("x")),
        (Endpoint::Request, replay(epoch, topic.id)),
        (Endpoint::Request, request(TopicRequest::Get(TopicKey::Name("x")))),
        (Endpoint::Request, change("x", mode(0o666))),
        (Endpoint::Request, request(TopicRequest::Delete(TopicKey::Name("x")))),
    ] {
        assert_eq!(errno(&lent.ask(to, &frame)), Some(Errno::EACCES));
    }
    assert!(!listed(&mut lent).contains(&"x".to_owned()));
}

fn who_sends_is_asked_whoever_opened_the_socket() {
    if no_other_user() {
        return;
    }
    let fixture = Fixture::new();
    let bus = fixture.connect();
    let topic = owned(&bus, "x", 0o600);
    let epoch = bus.info().unwrap().epoch;
    // Root opened it, and gave himself up.
    let mut given = fixture.socket_of(&["uid=65534"]);
    assert_eq!(errno(&given.ask(Endpoint::Publish, &publish("x"))), Some(Errno::EACCES));
    assert_eq!(errno(&given.ask(Endpoint::Request, &replay(epoch, topic.id))), Some(Errno::EACCES));
    assert!(!listed(&mut given).contains(&"x".to_owned()));
    assert_eq!(bus.topic("x").unwrap().map(|topic| topic.head), Some(0));
}

fn a_denied_publish_refuses_its_datagram_whole() {
    if no_other_user() {
        return;
    }
    let fixture = Fixture::new();
    let bus = fixture.connect();
    owned(&bus, "theirs", 0o644);
    bus.publish_acked("everybodys", "1").unwrap();
    let mut frame = Vec::new();
    for (seq, topic) in ["everybodys", "new", "theirs", "everybodys"].into_iter().enumerate() {
        push_publish(&mut frame, seq as u32, false, 0, Content::Opaque, topic, b"x");
    }
    let answer = fixture.socket_of(&["uid=65534"]).ask(Endpoint::Publish, &frame);
    assert_eq!((answer.answer().to.seq, errno(&answer)), (2, Some(Errno::EACCES)));
    let words = refusal(&answer).expect("a refusal").to_string();
    assert!(words.contains("'theirs'"), "{words}");
    assert_eq!(bus.topic("new").unwrap(), None);
    assert_eq!(bus.publish_acked("everybodys", "2").unwrap(), 2);
}

fn trying_ids_tells_no_names() {
    if no_other_user() {
        return;
    }
    let fixture = Fixture::new();
    let bus = fixture.connect();
    let (id, epoch) = (owned(&bus, "secret", 0o600).id, bus.info().unwrap().epoch);
    let mut socket = fixture.socket_of(&["uid=65534"]);
    for (names, key) in [(true, TopicKey::Name("secret")), (false, TopicKey::Id(id))] {
        let mut frames = vec![
            request(TopicRequest::Get(key)),
            request(TopicRequest::Change { key, settings: mode(0o666) }),
            request(TopicRequest::Delete(key)),
        ];
        if !names {
            frames.push(replay(epoch, id));
        }
        for frame in frames {
            let refusal = refusal(&socket.ask(Endpoint::Request, &frame)).expect("a refusal");
            assert_eq!(refusal.errno, Errno::EACCES);
            assert_eq!(refusal.message.contains("secret"), names, "{refusal}");
            assert!(names || refusal.message.contains(&id.to_string()), "{refusal}");
        }
    }
}

fn a_topic_is_made_with_what_it_is_to_be() {
    let fixture = Fixture::new();
    let bus = fixture.connect();
    let made = bus.topic_options("x").mode(0o640).history(5000).create().unwrap();
    assert_eq!((made.mode, made.uid, made.gid, made.history), (0o640, 0, 0, 5000));
    // One that exists stays as it is.
    assert_eq!(bus.topic_options("x").mode(0o600).history(1).create().unwrap(), made);
    assert_eq!(refused(&bus.topic_options("x").create_new().unwrap_err()).0, Errno::EEXIST);
    let most = bus.info().unwrap().limits.history;
    let (errno, words) = refused(&bus.topic_options("y").history(most + 1).create().unwrap_err());
    assert!(errno == Errno::ERANGE && words.contains("'y'"), "{words}");
    assert_eq!(bus.topic("y").unwrap(), None, "it wasn't made otherwise");
    if no_other_user() {
        return;
    }
    let mut child = fixture.spawn("client", &["uid=65534".to_owned()]);
    child.expect("ready");
    child.say("create theirs mode=0600");
    assert!(child.line().starts_with("topic mode=0600 uid=65534 gid=65534"));
    let record = bus.topic("theirs").unwrap().expect("a topic");
    assert_eq!((record.mode, record.uid, record.gid), (0o600, 65534, 65534));
    for (words, why) in [("a uid=0", "'a'"), ("b gid=0", "'b'"), ("x mode=0666", "'x'")] {
        child.say(&format!("create {words}"));
        let line = child.line();
        assert!(line.starts_with("refused EACCES") && line.contains(why), "{line}");
    }
    assert_eq!((bus.topic("a").unwrap(), bus.topic("b").unwrap()), (None, None));
}

fn a_change_is_the_owners() {
    let fixture = Fixture::new();
    let bus = fixture.connect();
    assert_eq!(refused(&bus.topic_options("nothing").mode(0o600).set().unwrap_err()).0, Errno::ENOENT);
    let before = bus.create_topic("x").unwrap();
    let changed = bus.topic_options("x").mode(0o640).group(4).history(9000).set().unwrap();
    assert_eq!((changed.mode, changed.uid, changed.gid, changed.history), (0o640, before.uid, 4, 9000));
    assert!(changed.change > before.change, "{changed:?}");
    assert_eq!(refused(&bus.topic_options("x").set().unwrap_err()).0, Errno::EINVAL, "nothing to set");
    assert_eq!(refused(&bus.topic_options("x").mode(0o755).set().unwrap_err()).0, Errno::EINVAL);
    if no_other_user() {
        return;
    }
    owned(&bus, "theirs", 0o666);
    let mut sockets = WHO.map(|(who, words)| (who, fixture.socket_of(words)));
    for ((who, socket), denied) in sockets.iter_mut().zip([None, Some(Errno::EACCES), Some(Errno::EACCES), None]) {
        let history = TopicSettings { history: Some(4000), ..TopicSettings::default() };
        for settings in [mode(0o666), history] {
            assert_eq!(errno(&socket.ask(Endpoint::Request, &change("theirs", settings))), denied, "{who}");
        }
    }
    // He shuts himself out and lets himself in again.
    let (_, owner) = &mut sockets[0];
    assert_eq!(record(&owner.ask(Endpoint::Request, &change("theirs", mode(0)))).mode, 0);
    assert_eq!(errno(&owner.ask(Endpoint::Publish, &publish("theirs"))), Some(Errno::EACCES));
    assert_eq!(record(&owner.ask(Endpoint::Request, &change("theirs", mode(0o600)))).mode, 0o600);
    assert_eq!(errno(&owner.ask(Endpoint::Publish, &publish("theirs"))), None);
    // All of a change or nothing.
    let both = TopicSettings { mode: Some(0o666), history: Some(u64::MAX), ..TopicSettings::default() };
    assert_eq!(errno(&owner.ask(Endpoint::Request, &change("theirs", both))), Some(Errno::ERANGE));
    assert_eq!(bus.topic("theirs").unwrap().map(|topic| topic.mode), Some(0o600));
}

fn giving_away_takes_privilege() {
    if no_other_user() {
        return;
    }
    let fixture = Fixture::new();
    let bus = fixture.connect();
    owned(&bus, "x", 0o600);
    let mut owner = fixture.socket_of(&["uid=1000"]);
    let uid = |uid| TopicSettings { uid: Some(uid), mode: Some(0o666), ..TopicSettings::default() };
    let gid = |gid| TopicSettings { gid: Some(gid), mode: Some(0o666), ..TopicSettings::default() };
    for settings in [uid(0), uid(1001), gid(0), gid(1001)] {
        let refusal = refusal(&owner.ask(Endpoint::Request, &change("x", settings))).expect("a refusal");
        assert!(refusal.errno == Errno::EACCES && refusal.message.contains("'x'"), "{refusal}");
    }
    assert_eq!(bus.topic("x").unwrap().map(|topic| topic.mode), Some(0o600), "nothing of it was done");
    assert_eq!(errno(&owner.ask(Endpoint::Request, &change("x", uid(1000)))), None, "it is his");
    assert_eq!(errno(&owner.ask(Endpoint::Request, &change("x", gid(1000)))), None, "he is in it");
    let given = bus.topic_options("x").owner(65534).group(7).mode(0o600).set().unwrap();
    assert_eq!((given.uid, given.gid), (65534, 7));
    assert_eq!(errno(&owner.ask(Endpoint::Request, &change("x", mode(0o666)))), Some(Errno::EACCES));
    let mut other = fixture.socket_of(&["uid=65534"]);
    assert_eq!(record(&other.ask(Endpoint::Request, &change("x", mode(0o640)))).mode, 0o640);
    let deleted = other.ask(Endpoint::Request, &request(TopicRequest::Delete(TopicKey::Name("x"))));
    assert_eq!(TopicDeleted::read(deleted.messages()[0].body), Ok(TopicDeleted { id: given.id }));
}

fn the_brokers_own_topics_are_read_only_for_everybody() {
    let fixture = Fixture::new();
    let bus = fixture.connect();
    let own: Vec<_> = bus.topics().unwrap().into_iter().filter(|topic| topic.name.starts_with("$SYS/")).collect();
    assert!(own.len() >= 4, "{own:?}");
    for topic in own {
        assert_eq!(topic.mode, 0o444, "{topic:?}");
        let (errno, words) = refused(&bus.topic_options(&topic.name).mode(0o666).set().unwrap_err());
        assert!(errno == Errno::EACCES && words.contains(&topic.name), "{words}");
        assert_eq!(refused(&bus.delete_topic(&topic.name).unwrap_err()).0, Errno::EACCES);
        assert_eq!(bus.publish_acked(&topic.name, "x").unwrap_err().errno(), Some(Errno::EACCES));
    }
}

/// With a module parameter, in `tests/module`, for the module.
fn what_the_broker_was_given_is_what_new_topics_have() {
    let given = Fixture::with(&["topic_mode=640"]);
    limits::new_topics_have_the_mode(&given.connect(), 0o640);
    drop(given);
    limits::what_nobody_may_write_to_is_not_made_by_writing(&Fixture::with(&["topic_mode=444"]));
}

fn the_broker_says_what_new_topics_have() {
    let fixture = Fixture::new();
    limits::new_topics_have_the_mode(&fixture.connect(), 0o666);
}

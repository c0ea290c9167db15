//! Promise 12, of users: each may have so much of a bus and no more, and what one of them has too much is at nobody else's
//! expense.

use nix::errno::Errno;
use nlbus::wire::uapi::NLMSG_ERROR;
use nlbus::wire::{Content, TopicKey, TopicRequest, TopicSettings, push_publish};
use nlbus::{Bus, Refusal, Start};
use nlbus_tests::{
    Args, Datagram, Endpoint, Fixture, OtherSocket, Place, Role, become_another, cases, events, no_other_user, payload,
    say, value, wait_for_head,
};

cases![
    the_broker_says_what_one_user_may_have,
    who_has_his_share_of_topics_creates_no_more,
    a_topic_is_charged_to_who_created_it,
    a_flood_evicts_what_is_the_flooders,
    newest_events_that_are_too_much_alone_are_the_last,
];

pub(crate) const ROLES: &[(&str, Role)] = &[("filler", filler), ("hoarder", hoarder)];

/// Users, of each test one of its own: the module counts what a user has on all buses, and a bus ends some time after its
/// namespace.
const CREATOR: u32 = 60001;
const GIVER: u32 = 60002;
const FLOODER: u32 = 60003;
const HOARDER: u32 = 60004;
const OTHER: u32 = 60005;

/// Nearly a datagram.
const LARGE: usize = 60_000;

fn publish(topic: &str) -> Vec<u8> {
    publishes([topic])
}

/// Publishes in one datagram, the last of which asks for an ack.
fn publishes<'a>(topics: impl IntoIterator<Item = &'a str, IntoIter: ExactSizeIterator>) -> Vec<u8> {
    let mut frame = Vec::new();
    let topics = topics.into_iter();
    let last = topics.len() - 1;
    for (at, topic) in topics.enumerate() {
        push_publish(&mut frame, at as u32, at == last, 0, Content::Opaque, topic, b"");
    }
    frame
}

fn request(request: TopicRequest<'_>) -> Vec<u8> {
    let mut frame = Vec::new();
    request.push(&mut frame, 7);
    frame
}

/// Why an answer says no, if it does.
fn refusal(answer: &Datagram) -> Option<Refusal> {
    (answer.messages()[0].header.kind == NLMSG_ERROR).then(|| answer.answer().result.err()).flatten()
}

/// What a datagram is refused with.
fn refused(socket: &mut OtherSocket, to: Endpoint, frame: &[u8]) -> Option<Refusal> {
    refusal(&socket.ask(to, frame))
}

fn errno(socket: &mut OtherSocket, to: Endpoint, frame: &[u8]) -> Option<Errno> {
    refused(socket, to, frame).map(|refusal| refusal.errno)
}

fn user(fixture: &Fixture, uid: u32) -> OtherSocket {
    fixture.socket_of(&[&format!("uid={uid}")])
}

/// Has a user create so many topics.
fn create(socket: &mut OtherSocket, prefix: &str, count: usize) {
    let names: Vec<_> = (0..count).map(|at| format!("{prefix}/{at}")).collect();
    for names in names.chunks(400) {
        let frame = publishes(names.iter().map(String::as_str));
        assert_eq!(refused(socket, Endpoint::Publish, &frame), None);
    }
}

fn the_broker_says_what_one_user_may_have() {
    let limits = Fixture::new().connect().info().unwrap().limits;
    assert_eq!((limits.user_topics, limits.user_history), (limits.topics / 4, limits.history / 4), "{limits:?}");
    match nlbus_tests::broker_kind() {
        nlbus::BrokerKind::Module => {
            let quarters = (limits.queue / 4, limits.private_groups / 4);
            assert_eq!((limits.user_queue, limits.user_private_groups), quarters, "{limits:?}");
        }
        // Its queue is one socket's receive buffer, and it has no private groups.
        _ => assert_eq!((limits.user_queue, limits.user_private_groups), (0, 0), "{limits:?}"),
    }
}

fn who_has_his_share_of_topics_creates_no_more() {
    if no_other_user() {
        return;
    }
    let fixture = Fixture::new();
    let bus = fixture.connect();
    let share = bus.info().unwrap().limits.user_topics as usize;
    let mut nobody = user(&fixture, CREATOR);
    create(&mut nobody, "his", share - 1);
    // One more, but not two.
    let two = publishes(["his/0", "one/more", "two/more"]);
    assert_eq!(errno(&mut nobody, Endpoint::Publish, &two), Some(Errno::EDQUOT));
    assert_eq!((bus.topic("one/more").unwrap(), bus.topic("his/0").unwrap().unwrap().head), (None, 1), "none of it");
    assert_eq!(errno(&mut nobody, Endpoint::Publish, &publish("one/more")), None);
    let make = request(TopicRequest::create("two/more"));
    for (to, frame) in [(Endpoint::Publish, publish("two/more")), (Endpoint::Request, make.clone())] {
        let refusal = refused(&mut nobody, to, &frame).expect("a refusal");
        assert_eq!(refusal.errno, Errno::EDQUOT, "{refusal}");
        for word in ["two/more", &CREATOR.to_string(), &share.to_string()] {
            assert!(refusal.message.contains(word), "no {word}: {refusal}");
        }
    }
    assert_eq!(bus.topic("two/more").unwrap(), None);
    assert_eq!(errno(&mut nobody, Endpoint::Publish, &publish("one/more")), None, "what there is goes on");
    // Another user does, and root, for whom there is no such bound.
    assert_eq!(errno(&mut user(&fixture, OTHER), Endpoint::Publish, &publish("others")), None);
    create(&mut fixture.socket_of(&[]), "roots", share + 1);
    bus.create_topic("roots/too").unwrap();
    let delete = request(TopicRequest::Delete(TopicKey::Name("his/0")));
    assert_eq!(errno(&mut nobody, Endpoint::Request, &delete), None);
    assert_eq!(errno(&mut nobody, Endpoint::Request, &make), None, "there is room for one");
    assert_eq!(errno(&mut nobody, Endpoint::Publish, &publish("three/more")), Some(Errno::EDQUOT));
}

/// Whoever owns it and publishes to it: otherwise one could have others pay.
fn a_topic_is_charged_to_who_created_it() {
    if no_other_user() {
        return;
    }
    let fixture = Fixture::new();
    let bus = fixture.connect();
    let share = bus.info().unwrap().limits.user_topics as usize;
    let (mut nobody, mut other) = (user(&fixture, GIVER), user(&fixture, OTHER));
    create(&mut nobody, "his", share);
    bus.topic_options("his/0").owner(OTHER).mode(0o666).set().unwrap();
    assert_eq!(errno(&mut other, Endpoint::Publish, &publish("his/0")), None);
    assert_eq!(errno(&mut nobody, Endpoint::Publish, &publish("more")), Some(Errno::EDQUOT));
    // Root gives him one, which is root's all the same.
    bus.topic_options("given").owner(GIVER).create_new().unwrap();
    assert_eq!(errno(&mut nobody, Endpoint::Publish, &publish("given")), None);
    let settings = TopicSettings { mode: Some(0o600), ..TopicSettings::default() };
    let change = request(TopicRequest::Change { key: TopicKey::Name("given"), settings });
    assert_eq!(errno(&mut nobody, Endpoint::Request, &change), None, "it is his to change");
    let delete = request(TopicRequest::Delete(TopicKey::Name("given")));
    assert_eq!(errno(&mut nobody, Endpoint::Request, &delete), None);
    assert_eq!(errno(&mut nobody, Endpoint::Publish, &publish("more")), Some(Errno::EDQUOT));
    let delete = request(TopicRequest::Delete(TopicKey::Name("his/0")));
    assert_eq!(errno(&mut other, Endpoint::Request, &delete), None);
    assert_eq!(errno(&mut nobody, Endpoint::Publish, &publish("more")), None);
}

/// Becomes somebody, makes topics `prefix/n` of so much history, publishes `count` events of `size` bytes to them in turn, and
/// says `filled` when the broker has them.
fn filler(place: Place, args: &Args) {
    become_another(place, args);
    let (prefix, topics): (String, u64) = (args.need("prefix"), args.need("topics"));
    let (count, size): (u64, usize) = (args.need("count"), args.need("size"));
    let bus = place.connect();
    for topic in 0..topics {
        bus.topic_options(&format!("{prefix}/{topic}")).history(args.need("history")).create_new().unwrap();
    }
    for number in 1..=count {
        bus.publish(&format!("{prefix}/{}", number % topics), &payload(1, number, size)).unwrap();
    }
    bus.flush().unwrap();
    say(format_args!("filled"));
}

fn fill(fixture: &Fixture, words: &[String]) {
    let mut child = fixture.spawn("filler", words);
    child.expect("filled");
    child.end_well();
}

fn kept(bus: &Bus, name: &str) -> (u64, u64) {
    let topic = bus.topic(name).unwrap().expect("a topic");
    (topic.first, topic.head)
}

/// What others keep stays as it is, down to the last event, and of the flooder's own topics the newest.
fn a_flood_evicts_what_is_the_flooders() {
    const TOPICS: u64 = 8;
    if no_other_user() {
        return;
    }
    let fixture = Fixture::new();
    let bus = fixture.connect();
    let limits = bus.info().unwrap().limits;
    let history = format!("history={}", limits.history / 8);
    // Large and small ones, and of the flooder one that is as large as anybody's.
    let words = |uid: u32, prefix: &str, topics: u64, count: u64, size: usize| {
        let numbers = [format!("topics={topics}"), format!("count={count}"), format!("size={size}")];
        [vec![format!("uid={uid}"), format!("prefix={prefix}"), history.clone()], numbers.to_vec()].concat()
    };
    let large = limits.user_history / 4 / LARGE as u64;
    for (uid, prefix) in [(0, "root"), (OTHER, "other"), (FLOODER, "before")] {
        fill(&fixture, &words(uid, &format!("{prefix}/large"), 1, large, LARGE));
        fill(&fixture, &words(uid, &format!("{prefix}/small"), 4, 400, 64));
    }
    let count = 5 * limits.user_history / LARGE as u64 / TOPICS * TOPICS;
    fill(&fixture, &words(FLOODER, "flood", TOPICS, count, LARGE));
    wait_for_head(&bus, "flood/0", count / TOPICS);
    for (prefix, large) in [("root", large), ("other", large)] {
        assert_eq!(kept(&bus, &format!("{prefix}/large/0")), (1, large), "{prefix}");
        for at in 0..4 {
            assert_eq!(kept(&bus, &format!("{prefix}/small/{at}")), (1, 100), "{prefix}");
        }
    }
    let topics = bus.topics().unwrap();
    let his = |name: &str| name.starts_with("flood/") || name.starts_with("before/");
    let bytes: u64 = topics.iter().filter(|topic| his(&topic.name)).map(|topic| topic.bytes).sum();
    assert!(bytes <= limits.user_history && bytes > limits.user_history / 2, "{bytes} of {}", limits.user_history);
    for topic in 0..TOPICS {
        let name = format!("flood/{topic}");
        let mut last = bus.subscriber(&name).start(Start::Last(1)).open().unwrap();
        assert_eq!(events(&mut last, 1)[0].seq(), count / TOPICS, "{name}");
    }
    for at in 0..4 {
        assert_eq!(kept(&bus, &format!("before/small/{at}")), (1, 100), "the largest of his give first");
    }
}

/// Becomes somebody and publishes an event to one topic after the other until that is refused. Says `full topics= errno=`, and
/// how he is refused in a second line; and then `emptied` when he has deleted them all, and publishes again.
fn hoarder(place: Place, args: &Args) {
    become_another(place, args);
    let bus = place.connect();
    let payload = payload(1, 1, LARGE);
    let mut topics = 0;
    let error = loop {
        match bus.publish_acked(&format!("hoard/{topics}"), &payload) {
            Ok(_) => topics += 1,
            Err(error) => break error,
        }
    };
    say(format_args!("full topics={topics} errno={}", error.errno().map_or(0, |errno| errno as i32)));
    say(format_args!("{error}"));
    nlbus_tests::hear();
    for topic in 0..topics {
        bus.delete_topic(&format!("hoard/{topic}")).unwrap();
    }
    bus.publish_acked("hoard/0", "x").unwrap();
    say(format_args!("emptied"));
}

/// They are kept beyond any limit, and nobody else can be made to pay: so there is a second limit, of twice as much.
fn newest_events_that_are_too_much_alone_are_the_last() {
    if no_other_user() {
        return;
    }
    let fixture = Fixture::new();
    let bus = fixture.connect();
    let limit = bus.info().unwrap().limits.user_history;
    for at in 1..=100 {
        assert_eq!(bus.publish_acked("roots", &payload(1, at, 64)).unwrap(), at);
    }
    let mut hoarder = fixture.spawn("hoarder", &[format!("uid={HOARDER}")]);
    let line = hoarder.line();
    assert_eq!(value(&line, "errno"), Errno::EDQUOT as u64, "{line}");
    let topics = value(&line, "topics");
    // As much as was said, and what was on the way.
    let bytes = topics * LARGE as u64;
    assert!(bytes > 2 * limit * 9 / 10 && bytes < 2 * limit * 11 / 10, "{bytes} bytes, of {limit} twice");
    let words = hoarder.line();
    for word in [&format!("hoard/{topics}"), &HOARDER.to_string(), "delete"] {
        assert!(words.contains(word), "no {word}: {words}");
    }
    // His topics take nothing more, whoever publishes; others' do.
    let error = bus.publish_acked("hoard/0", "x").unwrap_err();
    assert_eq!(error.errno(), Some(Errno::EDQUOT), "{error}");
    assert_eq!(errno(&mut user(&fixture, OTHER), Endpoint::Publish, &publish("others")), None);
    assert_eq!(errno(&mut user(&fixture, HOARDER), Endpoint::Publish, &publish("roots")), None);
    assert_eq!(kept(&bus, "roots"), (1, 101));
    hoarder.say("empty");
    hoarder.expect("emptied");
}

//! Promise 8, as ordinary users of the library meet it: they do what they may, are told by its name of what they may not,
//! and what a wildcard leaves out it leaves out without a word.

use nix::errno::Errno;
use nlbus::{BrokerKind, Bus};
use nlbus_tests::{Child, Fixture, broker_kind, cases, events, no_other_user};

cases![
    an_ordinary_user_takes_part,
    a_refused_publish_names_the_topic,
    who_may_not_read_is_told_which_topic_and_what_to_do,
    a_wildcard_covers_what_may_be_read,
];

/// A topic of root's.
fn roots(bus: &Bus, name: &str, mode: u32) {
    bus.topic_options(name).mode(mode).create_new().unwrap();
}

/// A client that nobody runs, and that may join groups if need be.
fn nobody(fixture: &Fixture, joins: bool) -> Child {
    let mut child = fixture.spawn("client", &["uid=65534".to_owned(), format!("joins={joins}")]);
    child.expect("ready");
    child
}

/// With the module all the way. The groups of `NETLINK_USERSOCK` need CAP_NET_ADMIN, and the error says so.
fn an_ordinary_user_takes_part() {
    if no_other_user() {
        return;
    }
    let fixture = Fixture::new();
    let bus = fixture.connect();
    bus.publish_acked("for/all", "1").unwrap();
    let mut child = nobody(&fixture, false);
    child.say("publish for/all");
    assert!(child.line().starts_with("published seq=2"));
    child.say("subscribe for/all");
    match broker_kind() {
        BrokerKind::Module => child.expect("subscribed"),
        _ => {
            let refused = child.line();
            assert!(refused.starts_with("refused") && refused.contains("CAP_NET_ADMIN"), "{refused}");
        }
    }
    // A subscription that was refused leaves the connection as it was.
    child.say("publish for/all");
    assert!(child.line().starts_with("published seq=3"));
}

/// Also where nobody waits for the broker's verdict.
fn a_refused_publish_names_the_topic() {
    if no_other_user() {
        return;
    }
    let fixture = Fixture::new();
    let bus = fixture.connect();
    roots(&bus, "secret/topic", 0o644);
    let mut child = nobody(&fixture, false);
    for verb in ["publish", "send"] {
        child.say(&format!("{verb} secret/topic"));
        let line = child.line();
        assert!(line.starts_with("refused EACCES") && line.contains("'secret/topic'"), "{line}");
        child.say(&format!("{verb} everybodys"));
        let line = child.line();
        assert!(line.starts_with("published") || line == "sent", "{line}");
    }
    assert_eq!(bus.topic("secret/topic").unwrap().map(|topic| topic.head), Some(0));
}

fn who_may_not_read_is_told_which_topic_and_what_to_do() {
    if no_other_user() {
        return;
    }
    let fixture = Fixture::new();
    let bus = fixture.connect();
    roots(&bus, "secret/topic", 0o600);
    let mut child = nobody(&fixture, true);
    child.say("subscribe secret/topic");
    let line = child.line();
    for word in ["refused", "'secret/topic'", Errno::EACCES.desc(), "nlbus topic set"] {
        assert!(line.contains(word), "no {word} in '{line}'");
    }
    child.say("look secret/topic");
    let line = child.line();
    assert!(line.starts_with("refused EACCES") && line.contains("secret/topic"), "{line}");
}

fn a_wildcard_covers_what_may_be_read() {
    if no_other_user() {
        return;
    }
    let fixture = Fixture::new();
    let bus = fixture.connect();
    roots(&bus, "w/secret", 0o600);
    roots(&bus, "w/read", 0o644);
    bus.create_topic("w/all").unwrap();
    let mut child = nobody(&fixture, true);
    child.say("topics");
    let names: Vec<_> =
        child.line().split_whitespace().map(str::to_owned).filter(|name| name.starts_with("w/")).collect();
    assert_eq!(names, ["w/read", "w/all"]);
    child.say("subscribe w/#");
    child.expect("subscribed");
    roots(&bus, "w/new/secret", 0o600);
    roots(&bus, "w/new/read", 0o644);
    for topic in ["w/secret", "w/new/secret", "w/read", "w/new/read", "w/all"] {
        bus.publish_acked(topic, "x").unwrap();
    }
    let mut seen = [(); 3].map(|()| {
        child.say("next");
        child.line()
    });
    seen.sort();
    assert_eq!(seen, ["w/all 1", "w/new/read 1", "w/read 1"]);
    // Root's covers all.
    let mut all = bus.subscriber("w/#").start(nlbus::Start::All).open().unwrap();
    assert_eq!(events(&mut all, 5).len(), 5);
}

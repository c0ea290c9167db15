//! Promise 8, as far as there are no modes yet: who may take part, and which groups can be joined.

use nix::errno::Errno;
use nlbus::BrokerKind;
use nlbus_tests::{Fixture, broker_kind, cases, other_users};

cases![an_ordinary_user_takes_part, a_group_of_nothing_cannot_be_joined module_only];

/// With the module all the way. The groups of `NETLINK_USERSOCK` need CAP_NET_ADMIN, and the error says so.
fn an_ordinary_user_takes_part() {
    if !other_users() {
        println!("    skipped: this user namespace has one user only");
        return;
    }
    let fixture = Fixture::new();
    let bus = fixture.connect();
    bus.publish_acked("for/all", "1").unwrap();
    let mut child = fixture.spawn("client", &["uid=65534".to_owned()]);
    child.expect("ready");
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

fn a_group_of_nothing_cannot_be_joined() {
    let fixture = Fixture::new();
    let (bus, raw) = (fixture.connect(), fixture.raw());
    let errno = |group| raw.join(group).unwrap_err().raw_os_error().map(Errno::from_raw);
    let groups = bus.info().unwrap().groups;
    assert_eq!(errno(groups), Some(Errno::ENOENT), "no topic has it");
    assert_eq!(errno(groups + 1), Some(Errno::EINVAL), "the protocol doesn't have it");
    let topic = bus.create_topic("x").unwrap();
    raw.join(topic.group).unwrap();
}

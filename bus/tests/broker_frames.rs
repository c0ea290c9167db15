//! Each row of docs/PROTOCOL.md's tables is answered by its error, and the bus goes on serving.

mod broker_common;

use broker_common::{Client, publish, quiet, start};
use nix::errno::Errno;
use nlbus::BrokerKind;
use nlbus::wire::uapi::*;
use nlbus::wire::{
    Attributes, Content, Header, ReplayRequest, TopicKey, TopicRequest, WillRequest, push_info_request, push_message,
    push_publish,
};

/// A message with any type, flags and body.
fn message(kind: u16, flags: u16, body: impl FnOnce(&mut Attributes<'_>)) -> Vec<u8> {
    let mut datagram = Vec::new();
    push_message(&mut datagram, Header { kind, flags, seq: 5, portid: 0 }, body);
    datagram
}

/// A good publish to "abcd" with some bytes written over.
fn spoiled(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut datagram = publish("abcd", b"payload");
    datagram[at..at + bytes.len()].copy_from_slice(bytes);
    datagram
}

fn topic_request(request: TopicRequest<'_>) -> Vec<u8> {
    let mut datagram = Vec::new();
    request.push(&mut datagram, 5);
    datagram
}

fn topic_message(flags: u16, body: impl FnOnce(&mut Attributes<'_>)) -> Vec<u8> {
    message(NLBUS_MSG_TOPIC, NLM_F_REQUEST | flags, body)
}

fn name(name: &[u8]) -> Vec<u8> {
    topic_message(0, |body| body.bytes(NLBUS_TOPIC_A_NAME, name))
}

/// Sends each row to both of the broker's ports; both must refuse it in the same way, and say why.
fn refused(rows: Vec<(&str, Vec<u8>, Errno)>, broker: &nlbus::BrokerHandle) {
    let client = Client::new(broker);
    for (what, datagram, errno) in rows {
        for port in [broker.port(), broker.port() + 1] {
            let before = client.info();
            client.send_to(port, &datagram).unwrap();
            let (refusal, _) = client.refusal();
            assert_eq!(refusal.errno, errno, "{what}: {refusal}");
            assert!(!refusal.message.is_empty(), "{what}");
            let after = client.info();
            assert_eq!(after.counters.refused, before.counters.refused + 1, "{what}");
            assert_eq!(after.counters.published, before.counters.published, "{what}");
            assert_eq!(after.counters.topics, before.counters.topics, "{what}");
        }
    }
    assert_eq!(client.publish_acked("still/here", b""), 1);
}

#[test]
fn framing_errors_are_answered_by_name() {
    let broker = start(quiet());
    let mut short = publish("a", b"");
    short.extend([0; 15]);
    let with_len = |len: u32| {
        let mut datagram = publish("a", b"");
        datagram[..4].copy_from_slice(&len.to_ne_bytes());
        datagram
    };
    let rows = vec![
        ("a header that is cut", vec![1; 15], Errno::EBADMSG),
        ("a header that is cut behind a good message", short, Errno::EBADMSG),
        ("nlmsg_len of 0", with_len(0), Errno::EBADMSG),
        ("nlmsg_len of 15", with_len(15), Errno::EBADMSG),
        ("nlmsg_len beyond the datagram", with_len(4096), Errno::EBADMSG),
        ("nlmsg_len of all ones", with_len(u32::MAX), Errno::EBADMSG),
        ("an unknown type", message(0x16, NLM_F_REQUEST, |_| {}), Errno::EOPNOTSUPP),
        ("a type that only the broker sends", message(NLBUS_MSG_EVENT, NLM_F_REQUEST, |_| {}), Errno::EOPNOTSUPP),
        ("a control type", message(NLMSG_ERROR, NLM_F_REQUEST, |_| {}), Errno::EOPNOTSUPP),
        ("no NLM_F_REQUEST", message(NLBUS_MSG_INFO, 0, |_| {}), Errno::EINVAL),
        ("an unknown flag", message(NLBUS_MSG_INFO, NLM_F_REQUEST | NLM_F_CREATE, |_| {}), Errno::EINVAL),
        ("too long", publish("a", &vec![0; NLBUS_DATAGRAM_MAX]), Errno::EMSGSIZE),
        ("far too long", publish("a", &vec![0; 100_000]), Errno::EMSGSIZE),
    ];
    refused(rows, &broker);
}

#[test]
fn bad_publishes_are_answered_by_name() {
    let broker = start(quiet());
    let mut ack_in_the_middle = Vec::new();
    push_publish(&mut ack_in_the_middle, 1, true, 0, Content::Opaque, "a", b"");
    push_publish(&mut ack_in_the_middle, 2, false, 0, Content::Opaque, "a", b"");
    let short = message(NLBUS_MSG_PUBLISH, NLM_F_REQUEST, |body| body.raw(&[0; 39]));
    let rows = vec![
        ("an ack in the middle", ack_in_the_middle, Errno::EINVAL),
        ("a short event header", short, Errno::EBADMSG),
        ("seq is set", spoiled(16, &[1]), Errno::EINVAL),
        ("time is set", spoiled(24, &[1]), Errno::EINVAL),
        ("topic_id is set", spoiled(32, &[1]), Errno::EINVAL),
        ("portid is set", spoiled(36, &[1]), Errno::EINVAL),
        ("pid is set", spoiled(40, &[1]), Errno::EINVAL),
        ("uid is set", spoiled(44, &[1]), Errno::EINVAL),
        ("reserved is set", spoiled(54, &[1]), Errno::EINVAL),
        ("a flag of the broker's", spoiled(50, &[NLBUS_EVENT_F_KERNEL as u8]), Errno::EINVAL),
        ("an unknown flag", spoiled(51, &[0x80]), Errno::EINVAL),
        ("an unknown content", spoiled(52, &[4]), Errno::EINVAL),
        ("a topic of 0 bytes", spoiled(48, &0u16.to_ne_bytes()), Errno::EINVAL),
        ("a topic of 256 bytes", spoiled(48, &256u16.to_ne_bytes()), Errno::ENAMETOOLONG),
        ("a topic that runs beyond the message", spoiled(48, &255u16.to_ne_bytes()), Errno::EBADMSG),
        ("a topic that isn't UTF-8", spoiled(56, b"\xff"), Errno::EILSEQ),
        ("a topic with U+0000", spoiled(57, b"\0"), Errno::EINVAL),
        ("a topic with +", spoiled(56, b"+"), Errno::EINVAL),
        ("a topic with #", spoiled(59, b"#"), Errno::EINVAL),
        ("a topic of the broker's", publish("$SYS/heartbeat", b""), Errno::EACCES),
        ("a topic of kernel code's", publish("kernel/x", b""), Errno::EACCES),
        ("the payload too large", publish("a", &vec![0; NLBUS_PAYLOAD_MAX + 1]), Errno::EMSGSIZE),
    ];
    refused(rows, &broker);
}

#[test]
fn bad_requests_are_answered_by_name() {
    let broker = start(quiet());
    let epoch = broker.epoch();
    let get = |key| topic_request(TopicRequest::Get(key));
    let op = |op: u32| topic_message(0, move |body| body.u32(NLBUS_TOPIC_A_OP, op));
    let create = |flags, with: &[u8]| topic_message(flags, |body| body.bytes(NLBUS_TOPIC_A_NAME, with));
    let replay = |epoch, topic_id, from| {
        let mut datagram = Vec::new();
        ReplayRequest { epoch, topic_id, from, limit: None }.push(&mut datagram, 5);
        datagram
    };
    let mut will = Vec::new();
    WillRequest::Set { topic: "a", content: 0, payload: b"x" }.push(&mut will, 5);
    let rows = vec![
        ("INFO with an attribute", message(NLBUS_MSG_INFO, 1, |body| body.u32(1, 1)), Errno::EINVAL),
        ("an unknown OP", op(99), Errno::EINVAL),
        ("neither NAME nor ID", op(NLBUS_TOPIC_OP_GET), Errno::EINVAL),
        (
            "both NAME and ID",
            topic_message(0, |body| {
                body.u32(NLBUS_TOPIC_A_ID, 1);
                body.bytes(NLBUS_TOPIC_A_NAME, b"a");
            }),
            Errno::EINVAL,
        ),
        ("CREATE without NAME", topic_message(NLM_F_CREATE, |body| body.u32(NLBUS_TOPIC_A_ID, 1)), Errno::EINVAL),
        ("EXCL without CREATE", create(NLM_F_EXCL, b"a"), Errno::EINVAL),
        (
            "CREATE with LIST",
            topic_message(NLM_F_CREATE, |body| body.u32(NLBUS_TOPIC_A_OP, NLBUS_TOPIC_OP_LIST)),
            Errno::EINVAL,
        ),
        ("an unknown attribute", topic_message(0, |body| body.u32(99, 1)), Errno::EINVAL),
        ("an attribute of a wrong length", topic_message(0, |body| body.u64(NLBUS_TOPIC_A_ID, 1)), Errno::EINVAL),
        ("bytes left over", topic_message(0, |body| body.raw(&[0; 3])), Errno::EINVAL),
        ("a name of 0 bytes", name(b""), Errno::EINVAL),
        ("a name of 256 bytes", name(&[b'a'; 256]), Errno::ENAMETOOLONG),
        ("a name that isn't UTF-8", name(b"\xff"), Errno::EILSEQ),
        ("a name with +", name(b"a/+"), Errno::EINVAL),
        ("no topic of that name", get(TopicKey::Name("none")), Errno::ENOENT),
        ("no topic of that id", get(TopicKey::Id(4)), Errno::ENOENT),
        ("id 0", get(TopicKey::Id(0)), Errno::ENOENT),
        ("CREATE below $SYS", create(NLM_F_CREATE, b"$SYS/x"), Errno::EACCES),
        ("CREATE below kernel", create(NLM_F_CREATE, b"kernel"), Errno::EACCES),
        ("a foreign epoch", replay(epoch ^ 1, 1, 1), Errno::ESTALE),
        ("a replay of no topic", replay(epoch, 4, 1), Errno::ENOENT),
        ("a replay from 0", replay(epoch, 1, 0), Errno::EINVAL),
        ("a replay from beyond the next", replay(epoch, 1, 2), Errno::ERANGE),
        ("REPLAY without FROM", message(NLBUS_MSG_REPLAY, 1, |body| body.u64(NLBUS_REPLAY_A_EPOCH, 1)), Errno::EINVAL),
        ("a will", will, Errno::EOPNOTSUPP),
    ];
    refused(rows, &broker);
    let client = Client::new(&broker);
    client.request(&topic_request(TopicRequest::Create { name: "still/here", exclusive: true }));
    assert_eq!(client.refusal().0.errno, Errno::EEXIST);
}

#[test]
fn one_topic_too_many_is_enospc() {
    let broker = start(quiet().topics_max(5));
    let client = Client::new(&broker);
    client.create("a");
    assert_eq!(client.publish_acked("b", b""), 1);
    client.publish("c", b"");
    let (refusal, _) = client.refusal();
    assert_eq!(refusal.errno, Errno::ENOSPC);
    assert!(refusal.message.contains("'c'"), "{refusal}");
    client.request(&topic_request(TopicRequest::Create { name: "c", exclusive: false }));
    assert_eq!(client.refusal().0.errno, Errno::ENOSPC);
    assert_eq!(client.publish_acked("b", b""), 2);
}

#[test]
fn a_refusal_echoes_the_first_bad_message() {
    let broker = start(quiet());
    let client = Client::new(&broker);
    let mut datagram = Vec::new();
    push_info_request(&mut datagram, 1);
    push_publish(&mut datagram, 2, false, 0, Content::Opaque, "good", b"");
    push_publish(&mut datagram, 3, false, 0, Content::Opaque, "bad/#", b"");
    push_publish(&mut datagram, 4, false, 0, Content::Opaque, "$SYS", b"");
    client.send(&datagram);
    let (refusal, seq) = client.refusal();
    assert_eq!((refusal.errno, seq), (Errno::EINVAL, 3));
    let counters = client.info().counters;
    assert_eq!((counters.published, counters.topics, counters.refused), (0, 3, 1));
}

#[test]
fn info_says_what_and_where_the_broker_is() {
    let broker = start(quiet());
    let client = Client::new(&broker);
    let info = client.info();
    assert_eq!((info.version, info.broker, info.epoch), (NLBUS_VERSION, BrokerKind::User, broker.epoch()));
    assert_eq!((info.publish_port, info.request_port), (broker.port(), broker.port() + 1));
    assert_eq!((info.protocol, info.groups, info.heartbeat_ms), (NETLINK_USERSOCK, NLBUS_USER_GROUPS, 0));
    assert_ne!(info.epoch, 0);
    assert!(info.limits.queue > 0 && info.uptime_ns > 0 && info.clock_offset_ns > 0);
    assert_eq!((info.limits.payload, info.limits.datagram), (64512, 65216));
}

#[test]
fn a_replay_goes_page_by_page_through_what_is_kept() {
    let broker = start(quiet().topic_history(200_000));
    let client = Client::new(&broker);
    for at in 0..49u8 {
        client.publish("a", &[at; 5000]);
    }
    assert_eq!(client.publish_acked("a", &[49; 5000]), 50);
    let topic = client.topic(TopicRequest::Get(TopicKey::Id(4)));
    assert_eq!((topic.head, topic.bytes <= 200_000), (50, true));
    let (mut next, mut pages, mut seen) = (1, 0, Vec::new());
    while next <= topic.head {
        let (events, end) = client.replay(broker.epoch(), topic.id, next, None);
        assert!(!events.is_empty());
        assert_eq!((end.first, end.head), (topic.first, 50));
        seen.extend(events.into_iter().map(|event| (event.header.seq, event.payload[0])));
        (next, pages) = (end.next, pages + 1);
    }
    let want: Vec<_> = (topic.first..=50).map(|seq| (seq, seq as u8 - 1)).collect();
    assert_eq!(seen, want);
    assert!(pages > 1);
}

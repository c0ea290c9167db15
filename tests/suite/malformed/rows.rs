//! The rows of the tables of refusals, as bytes.

use nix::errno::Errno;
use nlbus::wire::uapi::*;
use nlbus::wire::{Attributes, Content, Header, ReplayRequest, WillRequest, push_message, push_publish};

/// Number of the bad message in each row.
pub(super) const SEQ: u32 = 0xbad;

/// One row: what is wrong, as docs/PROTOCOL.md says it, the frame, and the answer.
pub(super) struct Row {
    pub(super) what: &'static str,
    pub(super) frame: Vec<u8>,
    pub(super) errno: Errno,
    /// `nlmsg_seq` that the answer echoes: 0 where there was no whole header.
    pub(super) echo: u32,
}

pub(super) fn row(what: &'static str, errno: Errno, frame: Vec<u8>) -> Row {
    Row { what, frame, errno, echo: SEQ }
}

/// A message of any type, flags and body.
pub(super) fn message(kind: u16, flags: u16, body: impl FnOnce(&mut Attributes<'_>)) -> Vec<u8> {
    let mut frame = Vec::new();
    push_message(&mut frame, Header { kind, flags, seq: SEQ, portid: 7 }, body);
    frame
}

/// A publish whose fields are right unless `spoil` changes them; it gets the bytes from the event header on.
pub(super) fn publish(topic: &[u8], payload: usize, spoil: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut body = vec![0; 40];
    body[32..34].copy_from_slice(&(topic.len() as u16).to_ne_bytes());
    body.extend_from_slice(topic);
    body.resize(40 + topic.len().next_multiple_of(8), 0);
    body.resize(body.len() + payload, 0x55);
    spoil(&mut body);
    message(NLBUS_MSG_PUBLISH, NLM_F_REQUEST, |frame| frame.raw(&body))
}

fn set(at: usize, value: u16) -> impl FnOnce(&mut Vec<u8>) {
    move |body| body[at..at + 2].copy_from_slice(&value.to_ne_bytes())
}

pub(super) fn with_len(mut frame: Vec<u8>, len: u32) -> Vec<u8> {
    frame[0..4].copy_from_slice(&len.to_ne_bytes());
    frame
}

pub(super) fn info() -> Vec<u8> {
    message(NLBUS_MSG_INFO, NLM_F_REQUEST, |_| {})
}

pub(super) fn topic(flags: u16, body: impl FnOnce(&mut Attributes<'_>)) -> Vec<u8> {
    message(NLBUS_MSG_TOPIC, NLM_F_REQUEST | flags, body)
}

pub(super) fn name(flags: u16, name: &[u8]) -> Vec<u8> {
    topic(flags, |body| body.bytes(NLBUS_TOPIC_A_NAME, name))
}

pub(super) fn replay(epoch: u64, topic_id: u32, from: u64) -> Vec<u8> {
    let mut frame = Vec::new();
    ReplayRequest { epoch, topic_id, from, limit: None }.push(&mut frame, SEQ);
    frame
}

pub(super) fn framing() -> Vec<Row> {
    let mut rows = vec![
        Row { what: "fewer than 16 bytes", frame: info()[..12].to_vec(), errno: Errno::EBADMSG, echo: 0 },
        row("nlmsg_len 0", Errno::EBADMSG, with_len(info(), 0)),
        row("nlmsg_len 15", Errno::EBADMSG, with_len(info(), 15)),
        row("nlmsg_len beyond the datagram", Errno::EBADMSG, with_len(info(), 17)),
        row("nlmsg_len 2^32 - 1", Errno::EBADMSG, with_len(info(), u32::MAX)),
        row("NLM_F_REQUEST missing", Errno::EINVAL, message(NLBUS_MSG_INFO, 0, |_| {})),
        row("NLM_F_REQUEST missing", Errno::EINVAL, message(NLBUS_MSG_PUBLISH, NLM_F_ACK, |_| {})),
        row("unknown type, and its flags don't matter", Errno::EOPNOTSUPP, message(0x16, 0xffff, |_| {})),
        row("the length is checked before the type", Errno::EBADMSG, with_len(message(0x16, 0, |_| {}), 20)),
        row("datagram longer than NLBUS_DATAGRAM_MAX", Errno::EMSGSIZE, publish(b"x", NLBUS_DATAGRAM_MAX - 60, |_| {})),
        row("far longer", Errno::EMSGSIZE, with_len(publish(b"x", 100_000, |_| {}), 1)),
    ];
    // Netlink's control types (NOOP, ERROR, DONE, OVERRUN), the broker's EVENT, and what nobody knows.
    for kind in [0, 1, 2, 3, 4, 0xf, NLBUS_MSG_EVENT, 0x16, 0xff, 0xffff] {
        rows.push(row("type unknown or the broker's", Errno::EOPNOTSUPP, message(kind, NLM_F_REQUEST, |_| {})));
    }
    for kind in [NLBUS_MSG_PUBLISH, NLBUS_MSG_INFO, NLBUS_MSG_TOPIC, NLBUS_MSG_REPLAY, NLBUS_MSG_WILL] {
        for flag in [NLM_F_MULTI, 0x8, 0x10, 0x100, 0x800, 0x8000] {
            rows.push(row(
                "flag that the type doesn't know",
                Errno::EINVAL,
                message(kind, NLM_F_REQUEST | flag, |_| {}),
            ));
        }
    }
    for kind in [NLBUS_MSG_PUBLISH, NLBUS_MSG_INFO, NLBUS_MSG_REPLAY, NLBUS_MSG_WILL] {
        for flag in [NLM_F_CREATE, NLM_F_EXCL] {
            rows.push(row(
                "CREATE or EXCL on another type",
                Errno::EINVAL,
                message(kind, NLM_F_REQUEST | flag, |_| {}),
            ));
        }
    }
    rows
}

pub(super) fn publishes() -> Vec<Row> {
    let mut ack_first = message(NLBUS_MSG_PUBLISH, NLM_F_REQUEST | NLM_F_ACK, |_| {});
    push_publish(&mut ack_first, 1, true, 0, Content::Opaque, "x", b"");
    let long = [b'x'; 256];
    let mut rows = vec![
        row("NLM_F_ACK on a message that isn't the last", Errno::EINVAL, ack_first),
        row("no body", Errno::EBADMSG, message(NLBUS_MSG_PUBLISH, NLM_F_REQUEST, |_| {})),
        row("body shorter than the event header", Errno::EBADMSG, publish(b"", 0, |body| body.truncate(39))),
        row("reserved isn't zero", Errno::EINVAL, publish(b"x", 0, set(38, 1))),
        row("unknown content", Errno::EINVAL, publish(b"x", 0, set(36, NLBUS_CONTENT_MAX + 1))),
        row("unknown content", Errno::EINVAL, publish(b"x", 0, set(36, 0xffff))),
        row("topic of 0 bytes", Errno::EINVAL, publish(b"", 8, |_| {})),
        row("topic of 256 bytes", Errno::ENAMETOOLONG, publish(&long, 0, |_| {})),
        row("topic of 65535 bytes, which aren't there", Errno::ENAMETOOLONG, publish(b"x", 0, set(32, 0xffff))),
        row("topic runs beyond the message", Errno::EBADMSG, publish(b"x", 0, set(32, 9))),
        row("topic's padding runs beyond it", Errno::EBADMSG, publish(b"abc", 0, |body| body.truncate(43))),
        row("topic contains U+0000", Errno::EINVAL, publish(b"a\0b", 0, |_| {})),
        row("topic contains '+'", Errno::EINVAL, publish(b"a/+", 0, |_| {})),
        row("topic contains '#'", Errno::EINVAL, publish(b"a#", 0, |_| {})),
        row("topic isn't UTF-8, and contains '#'", Errno::EILSEQ, publish(b"\xff#", 0, |_| {})),
        row("$SYS", Errno::EACCES, publish(b"$SYS", 0, |_| {})),
        row("below $SYS", Errno::EACCES, publish(b"$SYS/heartbeat", 0, |_| {})),
        row("kernel", Errno::EACCES, publish(b"kernel", 0, |_| {})),
        row("below kernel", Errno::EACCES, publish(b"kernel/x", 0, |_| {})),
        row("payload of 64513 bytes", Errno::EMSGSIZE, publish(b"x", NLBUS_PAYLOAD_MAX + 1, |_| {})),
        row("the broker's, before its size", Errno::EACCES, publish(b"$SYS", NLBUS_PAYLOAD_MAX + 1, |_| {})),
        row("flags before content", Errno::EINVAL, publish(b"x", 0, |b| b[34..38].copy_from_slice(&[0xff; 4]))),
    ];
    // seq, time_ns, topic_id, portid, pid, uid: a byte in each.
    for at in [0, 7, 8, 15, 16, 20, 24, 28, 31] {
        rows.push(row("a field that is the broker's to fill", Errno::EINVAL, publish(b"x", 0, |body| body[at] = 1)));
    }
    for flag in [NLBUS_EVENT_F_KERNEL, NLBUS_EVENT_F_REPLAYED, NLBUS_EVENT_F_WILL, 0x10, 0x8000] {
        rows.push(row("a flag that is unknown or the broker's", Errno::EINVAL, publish(b"x", 0, set(34, flag))));
    }
    // RFC 3629: bare continuation, cut, overlong, surrogate, beyond U+10FFFF.
    for bytes in [&b"\x80"[..], b"a\xc3", b"\xc0\xaf", b"\xe0\x80\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xff"] {
        rows.push(row("topic isn't UTF-8", Errno::EILSEQ, publish(bytes, 0, |_| {})));
        rows.push(row("NAME isn't UTF-8", Errno::EILSEQ, name(0, bytes)));
    }
    rows
}

/// A topic's name and how much it may keep.
fn limit(flags: u16, name: &[u8], history: u64) -> Vec<u8> {
    topic(flags, |body| (body.bytes(NLBUS_TOPIC_A_NAME, name), body.u64(NLBUS_TOPIC_A_HISTORY, history)).0)
}

/// A topic that isn't there, and what its values are called.
fn typed(flags: u16, name: &[u8]) -> Vec<u8> {
    topic(flags, |body| (body.bytes(NLBUS_TOPIC_A_NAME, b"no/such"), body.bytes(NLBUS_TOPIC_A_TYPE, name)).0)
}

pub(super) fn requests(epoch: u64, id: u32, head: u64) -> Vec<Row> {
    use Errno::{EACCES, EEXIST, EINVAL, ENAMETOOLONG, ENOENT, ERANGE, ESTALE};
    let create = NLM_F_CREATE;
    let list = |body: &mut Attributes<'_>| body.u32(NLBUS_TOPIC_A_OP, NLBUS_TOPIC_OP_LIST);
    let replay_with =
        |body: &dyn Fn(&mut Attributes<'_>)| message(NLBUS_MSG_REPLAY, NLM_F_REQUEST, |frame| body(frame));
    let will = |topic, content| {
        let mut will = Vec::new();
        WillRequest::Set { topic, content, payload: b"x" }.push(&mut will, SEQ);
        will
    };
    vec![
        row(
            "INFO with an attribute",
            EINVAL,
            message(NLBUS_MSG_INFO, NLM_F_REQUEST, |b| b.u32(NLBUS_INFO_A_VERSION, 1)),
        ),
        row("INFO with bytes left over", EINVAL, message(NLBUS_MSG_INFO, NLM_F_REQUEST, |b| b.raw(&[1, 2]))),
        row("unknown OP", EINVAL, topic(0, |b| (b.u32(NLBUS_TOPIC_A_OP, 3), b.u32(NLBUS_TOPIC_A_ID, 1)).0)),
        row("neither NAME nor ID", EINVAL, topic(0, |_| {})),
        row(
            "both NAME and ID",
            EINVAL,
            topic(0, |b| (b.bytes(NLBUS_TOPIC_A_NAME, b"x"), b.u32(NLBUS_TOPIC_A_ID, 1)).0),
        ),
        row("CREATE without NAME", EINVAL, topic(create, |b| b.u32(NLBUS_TOPIC_A_ID, id))),
        row("CREATE with nothing", EINVAL, topic(create, |_| {})),
        row("EXCL without CREATE", EINVAL, name(NLM_F_EXCL, b"x")),
        row("CREATE with LIST", EINVAL, topic(create, list)),
        row("REPLACE with nothing to set", EINVAL, name(NLM_F_REPLACE, b"x")),
        row("HISTORY without CREATE or REPLACE", EINVAL, limit(0, b"x", 1)),
        row("CREATE and REPLACE", EINVAL, limit(create | NLM_F_REPLACE, b"x", 1)),
        row("LIST with REPLACE", EINVAL, topic(NLM_F_REPLACE, list)),
        row("LIST with HISTORY", EINVAL, topic(0, |b| (list(b), b.u64(NLBUS_TOPIC_A_HISTORY, 1)).0)),
        row("TYPE of 64 bytes", ENAMETOOLONG, typed(NLM_F_REPLACE, &[b'x'; 64])),
        row("TYPE of 64 bytes that aren't text, with CREATE", ENAMETOOLONG, typed(create, &[0xff; 64])),
        row("TYPE with a newline", EINVAL, typed(NLM_F_REPLACE, b"a\n")),
        row("TYPE with U+0000", EINVAL, typed(create, b"a\0")),
        row("TYPE beyond ASCII", EINVAL, typed(create, "ö".as_bytes())),
        row("TYPE without CREATE or REPLACE", EINVAL, typed(0, b"x")),
        row("LIST with TYPE", EINVAL, topic(0, |b| (list(b), b.bytes(NLBUS_TOPIC_A_TYPE, b"x")).0)),
        row("TYPE of no topic", ENOENT, typed(NLM_F_REPLACE, b"")),
        row("HISTORY of 4 bytes", EINVAL, topic(NLM_F_REPLACE, |b| b.u32(NLBUS_TOPIC_A_HISTORY, 1))),
        row("REPLACE without NAME or ID", EINVAL, topic(NLM_F_REPLACE, |b| b.u64(NLBUS_TOPIC_A_HISTORY, 1))),
        row("HISTORY beyond all histories, with CREATE", ERANGE, limit(create, b"no/such", u64::MAX)),
        row("REPLACE of no topic", ENOENT, limit(NLM_F_REPLACE, b"no/such", 1)),
        row("REPLACE below $SYS", EACCES, limit(NLM_F_REPLACE, b"$SYS/heartbeat", 1)),
        row(
            "REPLACE of $SYS/heartbeat by its ID",
            EACCES,
            topic(NLM_F_REPLACE, |b| (b.u32(NLBUS_TOPIC_A_ID, 1), b.u64(NLBUS_TOPIC_A_HISTORY, 1)).0),
        ),
        row("HISTORY beyond all histories", ERANGE, limit(NLM_F_REPLACE, b"good", u64::MAX)),
        row("LIST with NAME", EINVAL, topic(0, |b| (list(b), b.bytes(NLBUS_TOPIC_A_NAME, b"x")).0)),
        row(
            "GET with CURSOR",
            EINVAL,
            topic(0, |b| (b.bytes(NLBUS_TOPIC_A_NAME, b"x"), b.u32(NLBUS_TOPIC_A_CURSOR, 1)).0),
        ),
        row("an attribute of the reply", EINVAL, topic(0, |b| (list(b), b.u32(NLBUS_TOPIC_A_GROUP, 3)).0)),
        row("an unknown attribute", EINVAL, topic(0, |b| (list(b), b.u32(NLBUS_TOPIC_A_MAX + 1, 3)).0)),
        row("ID of 8 bytes", EINVAL, topic(0, |b| b.u64(NLBUS_TOPIC_A_ID, 1))),
        row("ID of 2 bytes", EINVAL, topic(0, |b| b.bytes(NLBUS_TOPIC_A_ID, &[1, 0]))),
        row("SINCE of 4 bytes", EINVAL, topic(0, |b| (list(b), b.u32(NLBUS_TOPIC_A_SINCE, 1)).0)),
        row("an attribute's length beyond the message", EINVAL, topic(0, |b| b.raw(&[100, 0, 7, 0, b'x', 0, 0, 0]))),
        row("an attribute's length below its header", EINVAL, topic(0, |b| b.raw(&[3, 0, 7, 0]))),
        row("bytes left over behind attributes", EINVAL, topic(0, |b| (list(b), b.raw(&[1, 2])).0)),
        row("NAME of 0 bytes", EINVAL, name(0, b"")),
        row("NAME of 256 bytes", ENAMETOOLONG, name(0, &[b'x'; 256])),
        row("NAME with U+0000", EINVAL, name(0, b"a\0")),
        row("NAME with '+'", EINVAL, name(create, b"a/+")),
        row("no such topic", ENOENT, name(0, b"no/such")),
        row("no topic of that id", ENOENT, topic(0, |b| b.u32(NLBUS_TOPIC_A_ID, 0x7fff_ffff))),
        row("no topic of id 0", ENOENT, topic(0, |b| b.u32(NLBUS_TOPIC_A_ID, 0))),
        row("topic exists, with CREATE and EXCL", EEXIST, name(create | NLM_F_EXCL, b"good")),
        row("CREATE below $SYS", EACCES, name(create, b"$SYS/mine")),
        row("CREATE below kernel", EACCES, name(create, b"kernel/mine")),
        row("EPOCH isn't the bus's", ESTALE, replay(epoch ^ 1, id, 1)),
        row("EPOCH before the topic's id", ESTALE, replay(epoch ^ 1, 0, 1)),
        row("no topic of that id", ENOENT, replay(epoch, 0x7fff_ffff, 1)),
        row("FROM is 0", EINVAL, replay(epoch, id, 0)),
        row("FROM beyond newest + 1", ERANGE, replay(epoch, id, head + 2)),
        row("FROM 2^64 - 1", ERANGE, replay(epoch, id, u64::MAX)),
        row(
            "REPLAY without EPOCH",
            EINVAL,
            replay_with(&|b| (b.u32(NLBUS_REPLAY_A_TOPIC, id), b.u64(NLBUS_REPLAY_A_FROM, 1)).0),
        ),
        row(
            "REPLAY without TOPIC",
            EINVAL,
            replay_with(&|b| (b.u64(NLBUS_REPLAY_A_EPOCH, epoch), b.u64(NLBUS_REPLAY_A_FROM, 1)).0),
        ),
        row(
            "REPLAY without FROM",
            EINVAL,
            replay_with(&|b| (b.u64(NLBUS_REPLAY_A_EPOCH, epoch), b.u32(NLBUS_REPLAY_A_TOPIC, id)).0),
        ),
        row("REPLAY with FIRST", EINVAL, replay_with(&|b| b.u64(NLBUS_REPLAY_A_FIRST, 1))),
        row("REPLAY with LIMIT of 8 bytes", EINVAL, replay_with(&|b| b.u64(NLBUS_REPLAY_A_LIMIT, 1))),
        row("WILL in `$SYS`", EACCES, will("$SYS/x", 0)),
        row("WILL in a filter", EINVAL, will("a/+", 0)),
        row("WILL with unknown CONTENT", EINVAL, will("a", NLBUS_CONTENT_MAX + 1)),
        row(
            "WILL with CONTENT and no TOPIC",
            EINVAL,
            message(NLBUS_MSG_WILL, NLM_F_REQUEST, |b| b.u32(NLBUS_WILL_A_CONTENT, 0)),
        ),
    ]
}

/// What is wrong with who may use a topic, and with its end.
pub(super) fn access(id: u32) -> Vec<Row> {
    use Errno::{EACCES, EEXIST, EINVAL, ENOENT};
    let delete = |body: &mut Attributes<'_>| body.u32(NLBUS_TOPIC_A_OP, NLBUS_TOPIC_OP_DELETE);
    let named = |body: &mut Attributes<'_>, name: &[u8]| body.bytes(NLBUS_TOPIC_A_NAME, name);
    let set = |flags, name: &'static [u8], kind, value| {
        topic(flags, move |b| (b.bytes(NLBUS_TOPIC_A_NAME, name), b.u32(kind, value)).0)
    };
    let mut rows = vec![
        row("DELETE with neither NAME nor ID", EINVAL, topic(0, delete)),
        row("DELETE with both", EINVAL, topic(0, |b| (delete(b), named(b, b"good"), b.u32(NLBUS_TOPIC_A_ID, id)).0)),
        row("DELETE with CREATE", EINVAL, topic(NLM_F_CREATE, |b| (delete(b), named(b, b"x")).0)),
        row("DELETE with REPLACE", EINVAL, topic(NLM_F_REPLACE, |b| (delete(b), named(b, b"good")).0)),
        row("DELETE with CURSOR", EINVAL, topic(0, |b| (delete(b), named(b, b"x"), b.u32(NLBUS_TOPIC_A_CURSOR, 1)).0)),
        row("DELETE of no topic", ENOENT, topic(0, |b| (delete(b), named(b, b"no/such")).0)),
        row("DELETE of no id", ENOENT, topic(0, |b| (delete(b), b.u32(NLBUS_TOPIC_A_ID, 0x7fff_ffff)).0)),
        row("DELETE of the broker's own", EACCES, topic(0, |b| (delete(b), named(b, b"$SYS/heartbeat")).0)),
        row("the same by its ID", EACCES, topic(0, |b| (delete(b), b.u32(NLBUS_TOPIC_A_ID, 1)).0)),
        row("MODE of the broker's own", EACCES, set(NLM_F_REPLACE, b"$SYS/topics", NLBUS_TOPIC_A_MODE, 0o666)),
        row("MODE of no topic", ENOENT, set(NLM_F_REPLACE, b"no/such", NLBUS_TOPIC_A_MODE, 0o600)),
        row(
            "topic exists, whatever the MODE",
            EEXIST,
            set(NLM_F_CREATE | NLM_F_EXCL, b"good", NLBUS_TOPIC_A_MODE, 0o600),
        ),
        row("MODE of 8 bytes", EINVAL, topic(NLM_F_REPLACE, |b| (named(b, b"good"), b.u64(NLBUS_TOPIC_A_MODE, 0)).0)),
    ];
    for flags in [NLM_F_CREATE, NLM_F_REPLACE] {
        for mode in [0o1, 0o777, 0o1666, 0o100_666, u32::MAX] {
            rows.push(row("MODE with other bits", EINVAL, set(flags, b"good", NLBUS_TOPIC_A_MODE, mode)));
        }
        // Of a topic that exists CREATE changes nothing.
        let name: &[u8] = if flags == NLM_F_CREATE { b"no/such" } else { b"good" };
        rows.push(row("UID without a mapping", EINVAL, set(flags, name, NLBUS_TOPIC_A_UID, u32::MAX)));
        rows.push(row("GID without a mapping", EINVAL, set(flags, name, NLBUS_TOPIC_A_GID, u32::MAX)));
    }
    for (kind, what) in [
        (NLBUS_TOPIC_A_MODE, "MODE without CREATE or REPLACE"),
        (NLBUS_TOPIC_A_UID, "UID without CREATE or REPLACE"),
        (NLBUS_TOPIC_A_GID, "GID without CREATE or REPLACE"),
    ] {
        rows.push(row(what, EINVAL, set(0, b"good", kind, 0)));
        rows.push(row(what, EINVAL, topic(0, |b| (delete(b), named(b, b"good"), b.u32(kind, 0)).0)));
        rows.push(row(what, EINVAL, topic(0, |b| (b.u32(NLBUS_TOPIC_A_OP, NLBUS_TOPIC_OP_LIST), b.u32(kind, 0)).0)));
    }
    rows
}

//! Every row of docs/PROTOCOL.md's tables of refusals, as bytes: each is answered by its own error, which echoes the
//! header of the first bad message, and the bus goes on serving.
//!
//! Not here, because no frame alone brings them about: `ENOSPC` (in `bounds`), `EAGAIN`, `EINTR`, `ENOMEM`, `ESHUTDOWN`.

use nix::errno::Errno;
use nlbus::wire::uapi::*;
use nlbus::wire::{
    Attributes, Content, Header, ReplayRequest, TopicKey, TopicRequest, WillRequest, push_info_request, push_message,
    push_publish,
};
use nlbus_tests::{Datagram, Endpoint, Fixture, RawClient, cases, events, payload, quiet, wait_for};

cases![
    each_malformed_frame_has_its_own_error,
    a_bad_message_anywhere_refuses_the_whole_datagram,
    headers_cut_at_any_byte_are_refused,
    any_bytes_are_answered_and_the_bus_goes_on,
];

/// Number of the bad message in each row.
const SEQ: u32 = 0xbad;

/// One row: what is wrong, as docs/PROTOCOL.md says it, the frame, and the answer.
struct Row {
    what: &'static str,
    frame: Vec<u8>,
    errno: Errno,
    /// `nlmsg_seq` that the answer echoes: 0 where there was no whole header.
    echo: u32,
}

fn row(what: &'static str, errno: Errno, frame: Vec<u8>) -> Row {
    Row { what, frame, errno, echo: SEQ }
}

/// A message of any type, flags and body.
fn message(kind: u16, flags: u16, body: impl FnOnce(&mut Attributes<'_>)) -> Vec<u8> {
    let mut frame = Vec::new();
    push_message(&mut frame, Header { kind, flags, seq: SEQ, portid: 7 }, body);
    frame
}

/// A publish whose fields are right unless `spoil` changes them; it gets the bytes from the event header on.
fn publish(topic: &[u8], payload: usize, spoil: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
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

fn with_len(mut frame: Vec<u8>, len: u32) -> Vec<u8> {
    frame[0..4].copy_from_slice(&len.to_ne_bytes());
    frame
}

fn info() -> Vec<u8> {
    message(NLBUS_MSG_INFO, NLM_F_REQUEST, |_| {})
}

fn topic(flags: u16, body: impl FnOnce(&mut Attributes<'_>)) -> Vec<u8> {
    message(NLBUS_MSG_TOPIC, NLM_F_REQUEST | flags, body)
}

fn name(flags: u16, name: &[u8]) -> Vec<u8> {
    topic(flags, |body| body.bytes(NLBUS_TOPIC_A_NAME, name))
}

fn replay(epoch: u64, topic_id: u32, from: u64) -> Vec<u8> {
    let mut frame = Vec::new();
    ReplayRequest { epoch, topic_id, from, limit: None }.push(&mut frame, SEQ);
    frame
}

fn framing() -> Vec<Row> {
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

fn publishes() -> Vec<Row> {
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

fn requests(epoch: u64, id: u32, head: u64) -> Vec<Row> {
    use Errno::{EACCES, EEXIST, EINVAL, ENAMETOOLONG, ENOENT, EOPNOTSUPP, ERANGE, ESTALE};
    let create = NLM_F_CREATE;
    let list = |body: &mut Attributes<'_>| body.u32(NLBUS_TOPIC_A_OP, NLBUS_TOPIC_OP_LIST);
    let replay_with =
        |body: &dyn Fn(&mut Attributes<'_>)| message(NLBUS_MSG_REPLAY, NLM_F_REQUEST, |frame| body(frame));
    let mut will = Vec::new();
    WillRequest::Set { topic: "x", content: 0, payload: b"x" }.push(&mut will, SEQ);
    let mut clear = Vec::new();
    WillRequest::Clear.push(&mut clear, SEQ);
    vec![
        row(
            "INFO with an attribute",
            EINVAL,
            message(NLBUS_MSG_INFO, NLM_F_REQUEST, |b| b.u32(NLBUS_INFO_A_VERSION, 1)),
        ),
        row("INFO with bytes left over", EINVAL, message(NLBUS_MSG_INFO, NLM_F_REQUEST, |b| b.raw(&[1, 2]))),
        row("unknown OP", EINVAL, topic(0, |b| (b.u32(NLBUS_TOPIC_A_OP, 2), b.u32(NLBUS_TOPIC_A_ID, 1)).0)),
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
        row("wills are not served", EOPNOTSUPP, will),
        row("nor taken back", EOPNOTSUPP, clear),
        row(
            "WILL with CONTENT and no TOPIC",
            EINVAL,
            message(NLBUS_MSG_WILL, NLM_F_REQUEST, |b| b.u32(NLBUS_WILL_A_CONTENT, 0)),
        ),
    ]
}

/// Sends a row and checks the whole answer.
fn check(raw: &RawClient, to: Endpoint, row: &Row) -> Result<String, String> {
    raw.send(to, &row.frame);
    let datagram = raw.receive();
    let answer = datagram.answer();
    let Err(refusal) = &answer.result else { return Err(format!("not refused: {answer:?}")) };
    let (Some(sent), Some(echoed)) = (row.frame.get(..16), datagram.bytes.get(20..36)) else {
        return match datagram.bytes.get(20..36) {
            // A message too short for a header is echoed as zeros.
            Some(echoed) if echoed == [0; 16] && refusal.errno == row.errno => Ok(refusal.to_string()),
            _ => Err(format!("{answer:?} in {datagram:?}")),
        };
    };
    let header = datagram.messages()[0].header;
    let right = refusal.errno == row.errno
        && answer.to.seq == row.echo
        && header.seq == row.echo
        && header.flags & NLM_F_CAPPED != 0
        && header.portid == raw_echo(&datagram)
        && !refusal.message.is_empty()
        && datagram.port == raw.port_of(to)
        && datagram.groups == 0;
    if !right || (row.echo == SEQ && !echo_of(&row.frame, echoed, sent)) {
        return Err(format!(
            "want {} echoing {:#x}, got {answer:?}, {header:?} from {}",
            row.errno, row.echo, datagram.port
        ));
    }
    Ok(refusal.to_string())
}

/// The echoed header is that of a message of the frame.
fn echo_of(frame: &[u8], echoed: &[u8], first: &[u8]) -> bool {
    echoed == first || frame.windows(16).step_by(4).any(|bytes| bytes == echoed)
}

/// `nlmsg_pid` of what is echoed: the answer's is the same.
fn raw_echo(datagram: &Datagram) -> u32 {
    u32::from_ne_bytes(datagram.bytes[32..36].try_into().expect("four bytes"))
}

/// A bus with one topic, `good`, that shows after each row that it still serves.
struct Bench {
    fixture: Fixture,
    bus: nlbus::Bus,
    subscription: nlbus::Subscription,
    raw: RawClient,
    head: u64,
}

impl Bench {
    fn new() -> Bench {
        let fixture = Fixture::new();
        let (bus, raw) = (fixture.connect(), fixture.raw());
        let subscription = bus.subscribe("#").unwrap();
        let mut bench = Bench { fixture, bus, subscription, raw, head: 0 };
        bench.serves();
        bench
    }

    /// Publishes an event and receives it, and nothing else.
    fn serves(&mut self) {
        self.head += 1;
        let payload = payload(1, self.head, 40);
        assert_eq!(self.bus.publish_acked("good", &payload).unwrap(), self.head);
        let seen = events(&mut self.subscription, 1);
        assert_eq!((seen[0].topic(), seen[0].seq(), seen[0].payload()), ("good", self.head, &payload[..]));
        assert_eq!(self.raw.try_receive(), None, "one answer for each refused datagram");
    }
}

fn each_malformed_frame_has_its_own_error() {
    let mut bench = Bench::new();
    let (epoch, id) = (bench.bus.info().unwrap().epoch, bench.bus.topic("good").unwrap().expect("a topic").id);
    let mut table = String::from("    | what is wrong | error | in words |\n    |---|---|---|\n");
    let mut wrong = Vec::new();
    let before = bench.bus.info().unwrap().counters.refused;
    let mut count = 0;
    for to in [Endpoint::Publish, Endpoint::Request] {
        for rows in [framing(), publishes(), requests(epoch, id, 1_000_000)] {
            for row in &rows {
                match check(&bench.raw, to, row) {
                    Ok(words) if to == Endpoint::Publish => {
                        table += &format!("    | {} | `{:?}` | {words} |\n", row.what, row.errno);
                    }
                    Ok(_) => {}
                    Err(why) => wrong.push(format!("{} (to {to:?}): {why}", row.what)),
                }
                count += 1;
                bench.serves();
            }
        }
    }
    println!("{table}    {count} malformed frames, {} answered otherwise than they should", wrong.len());
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(bench.bus.info().unwrap().counters.refused - before, count, "each was counted");
    // Nothing of all that was accepted.
    let topics = bench.bus.topics().unwrap();
    let others: Vec<_> = topics.iter().filter(|t| t.name != "good" && !t.name.starts_with("$SYS/")).collect();
    assert!(others.is_empty(), "{others:?}");
    quiet(&mut bench.subscription);
}

/// A bad message first, in the middle and last; among publishes and among requests.
fn a_bad_message_anywhere_refuses_the_whole_datagram() {
    let mut bench = Bench::new();
    let good = |seq| {
        let mut frame = Vec::new();
        push_publish(&mut frame, seq, false, 0, Content::Opaque, "batch/topic", b"payload");
        push_info_request(&mut frame, seq + 100);
        TopicRequest::Get(TopicKey::Name("good")).push(&mut frame, seq + 200);
        frame
    };
    let bad = [
        ("unknown type", Errno::EOPNOTSUPP, message(0x99, NLM_F_REQUEST, |_| {})),
        ("reserved topic", Errno::EACCES, publish(b"kernel/x", 0, |_| {})),
        ("wildcard", Errno::EINVAL, publish(b"a/#", 0, |_| {})),
        ("not UTF-8", Errno::EILSEQ, publish(b"\xff", 0, |_| {})),
        ("unknown attribute", Errno::EINVAL, topic(0, |body| body.u32(99, 1))),
        ("lying length", Errno::EBADMSG, with_len(publish(b"x", 0, |_| {}), 60_000)),
        ("its body is short", Errno::EBADMSG, publish(b"", 0, |body| body.truncate(16))),
    ];
    for (what, errno, bad) in bad {
        for place in 0..3 {
            let mut frame = Vec::new();
            for at in 0..3 {
                frame.extend(if at == place { bad.clone() } else { good(at + 1) });
            }
            let row = Row { what, frame, errno, echo: SEQ };
            for to in [Endpoint::Publish, Endpoint::Request] {
                check(&bench.raw, to, &row).unwrap_or_else(|why| panic!("{what} at place {place}: {why}"));
                bench.serves();
            }
        }
    }
    // Two bad ones: the first is echoed.
    let frame = [publish(b"$SYS", 0, |_| {}), with_len(info(), 3)].concat();
    check(&bench.raw, Endpoint::Publish, &row("two", Errno::EACCES, frame)).unwrap();
    assert_eq!(bench.bus.topic("batch/topic").unwrap(), None, "nothing of them was accepted");
    // The same without a bad one: everything is done.
    bench.raw.send(Endpoint::Publish, &[good(1), good(2)].concat());
    for seq in [101, 201, 102, 202] {
        assert_eq!(bench.raw.receive().messages()[0].header.seq, seq);
    }
    let seen = events(&mut bench.subscription, 2);
    assert_eq!(
        seen.iter().map(|event| (event.topic(), event.seq())).collect::<Vec<_>>(),
        [("batch/topic", 1), ("batch/topic", 2)]
    );
    bench.serves();
}

/// The cut header first, and behind a whole message.
fn headers_cut_at_any_byte_are_refused() {
    let mut bench = Bench::new();
    let whole = publish(b"cut", 4, |_| {});
    for len in 1..16 {
        let cut = info()[..len].to_vec();
        for frame in [cut.clone(), [whole.clone(), cut].concat()] {
            let row = Row { what: "cut", frame, errno: Errno::EBADMSG, echo: 0 };
            bench.raw.send(Endpoint::Publish, &row.frame);
            let datagram = bench.raw.receive();
            let answer = datagram.answer();
            assert_eq!(answer.result.as_ref().unwrap_err().errno, row.errno, "{len}: {answer:?}");
            assert_eq!(datagram.bytes[20..36], [0; 16], "{len} bytes are echoed as zeros");
            bench.serves();
        }
    }
    // A message cut behind its header: at each byte of it.
    for len in 16..whole.len() {
        let row = row("cut", Errno::EBADMSG, whole[..len].to_vec());
        check(&bench.raw, Endpoint::Publish, &row).unwrap_or_else(|why| panic!("{len}: {why}"));
    }
    assert_eq!(bench.bus.topic("cut").unwrap(), None);
    bench.serves();
}

/// Frames that are nearly right, changed at random places: whatever the broker says, it says something or accepts, and
/// it goes on.
fn any_bytes_are_answered_and_the_bus_goes_on() {
    let bench = Bench::new();
    let seeds = [publish(b"fuzz/topic", 24, |_| {}), info(), name(NLM_F_CREATE, b"fuzz/made"), replay(1, 2, 3)];
    // xorshift64: the same frames each time.
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    let fuzzer = bench.fixture.raw();
    for round in 1..=3000 {
        let mut frame = [seeds[next(4)].clone(), seeds[next(4)].clone()].concat();
        for _ in 0..=next(4) {
            let at = next(frame.len());
            frame[at] = next(256) as u8;
        }
        frame.truncate(1 + next(frame.len()));
        fuzzer.send(Endpoint::Publish, &frame);
        if round % 100 == 0 {
            while fuzzer.try_receive().is_some() {}
            bench.bus.flush().unwrap();
        }
    }
    let mut probe = Vec::new();
    push_info_request(&mut probe, 0xabcd);
    fuzzer.send(Endpoint::Publish, &probe);
    wait_for("the answer behind all the others", || {
        let seen = fuzzer.try_receive()?;
        seen.messages().iter().any(|message| message.header.seq == 0xabcd).then_some(())
    });
    // Some may have been publishes as they should be, to whatever topics.
    let mut good = bench.bus.subscribe("good").unwrap();
    assert_eq!(
        bench.bus.publish_acked("good", "still").unwrap(),
        bench.bus.topic("good").unwrap().expect("a topic").head
    );
    assert_eq!(events(&mut good, 1)[0].payload(), b"still");
}

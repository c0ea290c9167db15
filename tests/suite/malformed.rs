//! Every row of docs/PROTOCOL.md's tables of refusals, as bytes: each is answered by its own error, which echoes the
//! header of the first bad message, and the bus goes on serving.
//!
//! Not here, because no frame alone brings them about: a mode that forbids it (in `access`), `ENOSPC` (in `bounds`), `EAGAIN`, `EINTR`, `ENOMEM`, `ESHUTDOWN`.

mod rows;

use nix::errno::Errno;
use nlbus::wire::uapi::*;
use nlbus::wire::{Content, TopicKey, TopicRequest, push_info_request, push_publish};
use nlbus_tests::{Datagram, Endpoint, Fixture, RawClient, cases, events, payload, quiet, wait_for};
use rows::*;

cases![
    each_malformed_frame_has_its_own_error,
    a_bad_message_anywhere_refuses_the_whole_datagram,
    headers_cut_at_any_byte_are_refused,
    any_bytes_are_answered_and_the_bus_goes_on,
];

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
        for rows in [framing(), publishes(), requests(epoch, id, 1_000_000), access(id)] {
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

//! Sequences of datagrams from several clients, with time that passes, to the user broker's core: nothing panics, all that
//! it sends can be read, its numbers are consecutive, and its bounds hold. Most are frames as clients write them, some with
//! a byte changed, some any bytes.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use nlbus::Content;
use nlbus::TypeName;
use nlbus::fuzzing::Step;
use nlbus::wire::uapi::NLBUS_DATAGRAM_MAX;
use nlbus::wire::{ReplayRequest, TopicKey, TopicRequest, TopicSettings, push_info_request, push_lost, push_publish};

const TOPICS: [&str; 16] =
    ["a", "b", "a/b", "a/b/c", "ü", "$SYS/heartbeat", "kernel/x", "d", "e", "f", "g", "h", "i", "j", "k", "+"];

#[derive(Debug, Arbitrary)]
enum Frame {
    Publish {
        topic: u8,
        len: u16,
        ack: bool,
        flags: u8,
        content: u8,
    },
    /// As many publishes of a topic as a datagram takes.
    Run {
        topic: u8,
        len: u16,
        ack: bool,
    },
    Lost {
        topic: u8,
        count: u32,
        ack: bool,
    },
    Info,
    Get {
        id: u8,
    },
    Create {
        topic: u8,
        exclusive: bool,
        settings: Settings,
    },
    Change {
        id: u8,
        settings: Settings,
    },
    Delete {
        id: u8,
    },
    List {
        cursor: u8,
        since: Option<u16>,
    },
    Replay {
        epoch: bool,
        id: u8,
        from: u16,
        limit: Option<u8>,
    },
    Any(Vec<u8>),
}

#[derive(Debug, Arbitrary)]
struct Settings {
    mode: Option<u16>,
    uid: Option<u8>,
    gid: Option<u8>,
    history: Option<u32>,
    type_name: Option<bool>,
}

impl Settings {
    fn get(&self) -> TopicSettings {
        TopicSettings {
            mode: self.mode.map(u32::from),
            uid: self.uid.map(u32::from),
            gid: self.gid.map(u32::from),
            history: self.history.map(u64::from),
            type_name: self.type_name.map(|is_named| is_named.then(TypeName::of::<Settings>)),
        }
    }
}

#[derive(Debug, Arbitrary)]
struct Sending {
    port: u8,
    ms: u16,
    frames: Vec<Frame>,
    /// Where a byte is changed, and what is xored to it.
    change: Option<(u16, u8)>,
    again: u8,
}

impl Frame {
    fn push(&self, to: &mut Vec<u8>) {
        let topic = |number: u8| TOPICS[usize::from(number) % TOPICS.len()];
        match *self {
            Frame::Publish { topic: number, len, ack, flags, content } => push_publish(
                to,
                1,
                ack,
                u16::from(flags),
                Content::from_wire(u16::from(content)),
                topic(number),
                &vec![7; usize::from(len) % 4000],
            ),
            Frame::Run { topic: number, len, ack } => {
                let payload = vec![7; usize::from(len) % 4000];
                let mut end = to.len();
                loop {
                    push_publish(to, 1, ack, 0, Content::Opaque, topic(number), &payload);
                    if to.len() > NLBUS_DATAGRAM_MAX {
                        break to.truncate(end);
                    }
                    end = to.len();
                }
            }
            Frame::Lost { topic: number, count, ack } => push_lost(to, 1, ack, 0, topic(number), count.into()),
            Frame::Info => push_info_request(to, 2),
            Frame::Get { id } => TopicRequest::Get(TopicKey::Id(u32::from(id))).push(to, 3),
            Frame::Create { topic: number, exclusive, ref settings } => {
                TopicRequest::Create { name: topic(number), exclusive, settings: settings.get() }.push(to, 4);
            }
            Frame::Change { id, ref settings } => {
                TopicRequest::Change { key: TopicKey::Id(u32::from(id)), settings: settings.get() }.push(to, 5);
            }
            Frame::Delete { id } => TopicRequest::Delete(TopicKey::Id(u32::from(id))).push(to, 8),
            Frame::List { cursor, since } => {
                TopicRequest::List { cursor: u32::from(cursor), since: since.map(u64::from) }.push(to, 6);
            }
            Frame::Replay { epoch, id, from, limit } => {
                let epoch = if epoch { 0x0123_4567_89ab_cdef } else { 1 };
                let limit = limit.map(u32::from);
                ReplayRequest { epoch, topic_id: u32::from(id), from: u64::from(from), limit }.push(to, 7);
            }
            Frame::Any(ref bytes) => to.extend(bytes),
        }
    }
}

impl Sending {
    fn step(&self) -> Step {
        let mut datagram = Vec::new();
        self.frames.iter().take(20).for_each(|frame| frame.push(&mut datagram));
        if let Some((at, xor)) = self.change
            && !datagram.is_empty()
        {
            let at = usize::from(at) % datagram.len();
            datagram[at] ^= xor;
        }
        Step { port: self.port.into(), ms: self.ms.into(), datagram, again: self.again % 32 }
    }
}

fuzz_target!(|all: (bool, Vec<Sending>)| {
    let (large, steps) = all;
    let steps: Vec<_> = steps.iter().take(100).map(Sending::step).collect();
    nlbus::fuzzing::broker(large, &steps);
});

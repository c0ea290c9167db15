//! Datagrams as a client could send them, and as none should: each message is one of the protocol's, of parts that are mostly
//! good, and then some bytes of the datagram are changed.

use fastrand::Rng;
use nlbus::wire::uapi::*;
use nlbus::wire::{Header, Messages, push_message};

/// What a client knows of its bus, so that much of what it sends is about something.
#[derive(Debug, Default)]
pub(crate) struct Known {
    pub(crate) epoch: u64,
    /// Newest topic.
    pub(crate) last_id: u32,
    pub(crate) groups: u32,
}

/// Attributes that a request can have, by their width in bytes; 0 for a name.
const TOPIC_ATTRIBUTES: [(u16, usize); 9] = [
    (NLBUS_TOPIC_A_OP, 4),
    (NLBUS_TOPIC_A_CURSOR, 4),
    (NLBUS_TOPIC_A_SINCE, 8),
    (NLBUS_TOPIC_A_ID, 4),
    (NLBUS_TOPIC_A_NAME, 0),
    (NLBUS_TOPIC_A_MODE, 4),
    (NLBUS_TOPIC_A_UID, 4),
    (NLBUS_TOPIC_A_HISTORY, 8),
    (NLBUS_TOPIC_A_TYPE, 0),
];

/// A datagram of some messages, and how many those were before it was spoiled.
pub(crate) fn datagram(rng: &mut Rng, known: &Known) -> (Vec<u8>, usize) {
    let mut datagram = Vec::new();
    let count = if rng.u8(..4) == 0 { rng.usize(1..60) } else { rng.usize(1..4) };
    // Runs of one topic are what most of the brokers' ways are for.
    let alike = rng.bool().then(|| name(rng));
    for _ in 0..count {
        message(rng, known, alike.as_deref(), &mut datagram);
    }
    if rng.u8(..3) == 0 {
        spoil(rng, &mut datagram);
    }
    (datagram, count)
}

fn message(rng: &mut Rng, known: &Known, topic: Option<&[u8]>, datagram: &mut Vec<u8>) {
    let mut flags = NLM_F_REQUEST | if rng.u8(..4) == 0 { NLM_F_ACK } else { 0 };
    let kind = match rng.u8(..20) {
        0..10 => NLBUS_MSG_PUBLISH,
        10..15 => NLBUS_MSG_TOPIC,
        15..17 => NLBUS_MSG_REPLAY,
        17 => NLBUS_MSG_WILL,
        18 => NLBUS_MSG_INFO,
        _ => rng.u16(..0x20),
    };
    if kind == NLBUS_MSG_TOPIC {
        flags |= *rng.choice(&[0, 0, NLM_F_CREATE, NLM_F_CREATE | NLM_F_EXCL, NLM_F_REPLACE]).unwrap_or(&0);
    }
    let header = Header { kind, flags, seq: rng.u32(..), portid: if rng.u8(..8) == 0 { rng.u32(..) } else { 0 } };
    push_message(datagram, header, |body| match kind {
        NLBUS_MSG_PUBLISH => body.raw(&publish(rng, topic)),
        NLBUS_MSG_TOPIC => topic_request(rng, known, |kind, value| body.bytes(kind, value)),
        NLBUS_MSG_REPLAY => {
            body.u64(NLBUS_REPLAY_A_EPOCH, if rng.u8(..16) == 0 { rng.u64(..) } else { known.epoch });
            body.u32(NLBUS_REPLAY_A_TOPIC, id(rng, known));
            body.u64(NLBUS_REPLAY_A_FROM, number(rng));
            if rng.bool() {
                body.u32(NLBUS_REPLAY_A_LIMIT, number(rng) as u32);
            }
        }
        NLBUS_MSG_WILL if rng.bool() => {
            body.bytes(NLBUS_WILL_A_TOPIC, &name(rng));
            body.u32(NLBUS_WILL_A_CONTENT, rng.u32(..5));
            body.bytes(NLBUS_WILL_A_PAYLOAD, &payload(rng));
        }
        _ => {}
    });
}

/// The body of a publish.
fn publish(rng: &mut Rng, topic: Option<&[u8]>) -> Vec<u8> {
    let topic = topic.map_or_else(|| name(rng), <[u8]>::to_vec);
    let mut body = vec![0; 40];
    body[32..34].copy_from_slice(&(topic.len() as u16).to_ne_bytes());
    let flags = match rng.u8(..16) {
        0 => rng.u16(..),
        1..4 => NLBUS_EVENT_F_NO_WAIT,
        4..6 => NLBUS_EVENT_F_LOST,
        6 => NLBUS_EVENT_F_LOST | NLBUS_EVENT_F_NO_WAIT,
        _ => 0,
    };
    body[34..36].copy_from_slice(&flags.to_ne_bytes());
    let is_lost = flags & NLBUS_EVENT_F_LOST != 0 && rng.u8(..16) != 0;
    if !is_lost {
        body[36..38].copy_from_slice(&rng.u16(..5).min(if rng.u8(..8) == 0 { 9 } else { 3 }).to_ne_bytes());
    }
    body.extend(topic);
    body.resize(body.len().next_multiple_of(8), 0);
    if is_lost {
        body.extend(lost(rng).to_ne_bytes());
    } else {
        body.extend(payload(rng));
    }
    body
}

/// How many numbers are lost: mostly as many as can be, and now and then so many that they add up.
fn lost(rng: &mut Rng) -> u64 {
    match rng.u8(..16) {
        0 => number(rng),
        1..4 => NLBUS_LOST_MAX,
        _ => rng.u64(1..9),
    }
}

/// Some attributes, mostly those that go together.
fn topic_request(rng: &mut Rng, known: &Known, mut push: impl FnMut(u16, &[u8])) {
    let shapes: [&[u16]; 8] = [
        &[NLBUS_TOPIC_A_NAME],
        &[NLBUS_TOPIC_A_ID],
        &[NLBUS_TOPIC_A_NAME, NLBUS_TOPIC_A_MODE],
        &[NLBUS_TOPIC_A_ID, NLBUS_TOPIC_A_HISTORY],
        &[NLBUS_TOPIC_A_NAME, NLBUS_TOPIC_A_TYPE],
        &[NLBUS_TOPIC_A_OP, NLBUS_TOPIC_A_CURSOR],
        &[NLBUS_TOPIC_A_OP, NLBUS_TOPIC_A_SINCE],
        &[NLBUS_TOPIC_A_OP, NLBUS_TOPIC_A_NAME],
    ];
    let mut kinds = rng.choice(&shapes).map(|shape| shape.to_vec()).unwrap_or_default();
    while rng.u8(..6) == 0 {
        kinds.push(rng.choice(&TOPIC_ATTRIBUTES).map_or(0, |(kind, _)| *kind));
    }
    for kind in kinds {
        let width = TOPIC_ATTRIBUTES.iter().find(|(known, _)| *known == kind).map_or(4, |(_, width)| *width);
        let value = match kind {
            NLBUS_TOPIC_A_NAME => name(rng),
            NLBUS_TOPIC_A_TYPE => type_name(rng),
            NLBUS_TOPIC_A_OP => rng.u32(..4).to_ne_bytes().to_vec(),
            NLBUS_TOPIC_A_ID | NLBUS_TOPIC_A_CURSOR => id(rng, known).to_ne_bytes().to_vec(),
            NLBUS_TOPIC_A_MODE => {
                [0o666u32, 0o644, 0o600, 0o640, 0o222, 0, rng.u32(..)][rng.usize(..7)].to_ne_bytes().to_vec()
            }
            NLBUS_TOPIC_A_UID => [0, 65534, rng.u32(..)][rng.usize(..3)].to_ne_bytes().to_vec(),
            _ => number(rng).to_ne_bytes()[..width].to_vec(),
        };
        push(kind, &value);
    }
}

/// Mostly of a few topics, which fill; sometimes of a new one, and sometimes no name at all.
fn name(rng: &mut Rng) -> Vec<u8> {
    match rng.u8(..40) {
        0 => format!("new/{}", rng.u16(..2000)).into_bytes(),
        1 => vec![b'x'; [254, 255, 256, 300][rng.usize(..4)]],
        2 => (*rng.choice(&["$SYS/topics", "$SYS", "kernel/x", "a/+", "#", "", "a//b", "/"]).unwrap_or(&"")).into(),
        3 => vec![rng.u8(..); rng.usize(1..9)],
        _ => format!("f/{}", rng.u8(..12)).into_bytes(),
    }
}

/// Mostly what one could be, of any length.
fn type_name(rng: &mut Rng) -> Vec<u8> {
    let byte = if rng.u8(..8) == 0 { rng.u8(..) } else { rng.u8(b' '..=b'~') };
    vec![byte; [0, 1, 7, 62, 63, 64, 300][rng.usize(..7)]]
}

fn payload(rng: &mut Rng) -> Vec<u8> {
    let len = match rng.u8(..24) {
        0 => rng.usize(..NLBUS_PAYLOAD_MAX + 100),
        1 => [NLBUS_PAYLOAD_MAX, NLBUS_PAYLOAD_MAX + 1, 4096, 16384][rng.usize(..4)],
        2..6 => rng.usize(..3000),
        _ => rng.usize(..100),
    };
    vec![rng.u8(..); len]
}

fn id(rng: &mut Rng, known: &Known) -> u32 {
    if rng.u8(..10) == 0 { number(rng) as u32 } else { rng.u32(..known.last_id.saturating_add(2)) }
}

/// Where numbers are special, and next to it.
fn number(rng: &mut Rng) -> u64 {
    let around = [0, 1, 2, 40, 255, 4096, 1 << 16, 1 << 20, 1 << 31, 1 << 32, 1 << 63, u64::MAX][rng.usize(..12)];
    around.wrapping_add(rng.u64(..3)).wrapping_sub(1)
}

/// Changes some bytes: anywhere, or in a header, where they count.
fn spoil(rng: &mut Rng, datagram: &mut Vec<u8>) {
    let starts: Vec<usize> = Messages::new(datagram).flatten().map(|message| message.offset).collect();
    for _ in 0..rng.usize(1..4) {
        let len = datagram.len();
        if len == 0 {
            return;
        }
        let start = rng.choice(&starts).copied().unwrap_or(0).min(len - 1);
        match rng.u8(..8) {
            0..3 => datagram[rng.usize(..len)] ^= 1 << rng.u8(..8),
            3 => datagram[(start + rng.usize(..60)).min(len - 1)] = rng.u8(..),
            4 => {
                // A length.
                let claimed = number(rng) as u32;
                let end = (start + 4).min(len);
                datagram[start..end].copy_from_slice(&claimed.to_ne_bytes()[..end - start]);
            }
            5 => datagram.truncate(rng.usize(..=len)),
            6 => datagram.extend((0..rng.usize(..40)).map(|_| rng.u8(..))),
            _ => drop(datagram.drain(start..(start + rng.usize(..24)).min(len))),
        }
    }
}

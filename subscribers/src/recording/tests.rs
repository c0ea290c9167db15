use super::*;
use nlbus::wire::uapi::NLBUS_MSG_EVENT;
use nlbus::wire::{EventHeader, Header, push_event};
use proptest::prelude::*;
use std::fs::OpenOptions;
use std::io::Write as _;

/// Begins a recording with these events, and returns its bytes.
fn recording(events: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = Writer::begin(&mut bytes).unwrap();
    for (seq, (topic, payload)) in (1..).zip(events) {
        writer.raw_event(|out| {
            let header = EventHeader { seq, time_ns: seq * 10, topic_id: 4, ..EventHeader::default() };
            push_event(out, Header { kind: NLBUS_MSG_EVENT, ..Header::default() }, &header, topic, payload);
        });
    }
    writer.note(&Note::End { events: events.len() as u64, lost: 0 }).unwrap();
    writer.flush().unwrap();
    drop(writer);
    bytes
}

/// Topics and payloads.
type Events = Vec<(String, Vec<u8>)>;

/// What can be read of it, how many notes, and what is wrong behind them.
fn read(bytes: &[u8]) -> Result<(Events, usize, Option<Flaw>), OpenError> {
    let mut reader = Reader::open(bytes)?;
    let (mut events, mut notes) = (Vec::new(), 0);
    loop {
        match reader.read() {
            Ok(Some(Record::Event(event))) => events.push((event.topic.to_owned(), event.payload.to_vec())),
            Ok(Some(_)) => notes += 1,
            Ok(None) => return Ok((events, notes, None)),
            Err(ReadError::Flaw(flaw)) => return Ok((events, notes, Some(flaw))),
            Err(ReadError::Io(error)) => panic!("{error}"),
        }
    }
}

fn events() -> Vec<(&'static str, Vec<u8>)> {
    vec![("a", b"1".to_vec()), ("a/b", vec![]), ("ö", vec![0xff; 3000])]
}

fn owned(events: &[(&str, Vec<u8>)]) -> Events {
    events.iter().map(|(topic, payload)| ((*topic).to_owned(), payload.clone())).collect()
}

#[test]
fn what_is_written_is_read() {
    assert_eq!(read(&recording(&events())).unwrap(), (owned(&events()), 1, None));
}

#[test]
fn cut_anywhere_it_is_read_to_the_last_whole_event() {
    let bytes = recording(&events());
    let mut whole = 0;
    for len in HEADER_LEN..bytes.len() {
        let (seen, notes, flaw) = read(&bytes[..len]).unwrap();
        assert!(seen.len() >= whole && owned(&events()).starts_with(&seen), "{len} bytes");
        whole = seen.len();
        assert_eq!(notes, 0);
        if let Some(flaw) = flaw {
            assert!(flaw.at < len as u64 && flaw.to_string().contains("cut off"), "{flaw}");
        }
    }
    assert_eq!(whole, 3);
    for len in 0..HEADER_LEN {
        assert!(read(&bytes[..len]).is_err(), "{len} bytes");
    }
}

#[test]
fn one_that_is_cut_goes_on_behind_its_last_whole_event() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let bytes = recording(&events());
    file.as_file().write_all(&bytes[..bytes.len() - 60]).unwrap();
    let again = OpenOptions::new().read(true).write(true).open(file.path()).unwrap();
    let (mut writer, cut) = Writer::resume(again).unwrap();
    assert!(cut > 0 && cut < bytes.len() as u64);
    writer.note(&Note::Bus { because: Because::Resumed, epoch: 7, protocol: 2, clock_offset_ns: -1 }).unwrap();
    writer.sync().unwrap();
    let (seen, notes, flaw) = read(&std::fs::read(file.path()).unwrap()).unwrap();
    assert!(seen.len() >= 2 && owned(&events()).starts_with(&seen));
    assert_eq!((notes, flaw), (1, None));
}

#[test]
fn what_is_no_recording_is_told_apart() {
    let bytes = recording(&[]);
    let with = |at: usize, new: &[u8]| {
        let mut bytes = bytes.clone();
        bytes[at..at + new.len()].copy_from_slice(new);
        let sum = crc32c::crc32c(&bytes[..20]);
        bytes[20..24].copy_from_slice(&sum.to_ne_bytes());
        Reader::open(&bytes[..]).unwrap_err()
    };
    assert!(matches!(Reader::open(&b"{\"topic\":1}"[..]), Err(OpenError::NotOne)));
    assert!(matches!(with(8, &2u16.to_ne_bytes()), OpenError::Version(2)));
    assert!(matches!(with(12, &BYTE_ORDER.swap_bytes().to_ne_bytes()), OpenError::OtherByteOrder));
    let mut damaged = bytes.clone();
    damaged[17] = 1;
    assert!(matches!(Reader::open(&damaged[..]), Err(OpenError::Header)));
}

#[test]
fn what_a_newer_program_wrote_is_passed_over() {
    let mut bytes = recording(&events());
    for (kind, body) in [(77u16, &b"?"[..]), (KIND_NOTE, br#"{"weather":{"rain":true}}"#), (KIND_NOTE, b"?")] {
        let mut head = [0; HEAD_LEN];
        head[..4].copy_from_slice(&(body.len() as u32).to_ne_bytes());
        head[4..6].copy_from_slice(&kind.to_ne_bytes());
        let sum = checksum(&head[..8], body);
        head[8..].copy_from_slice(&sum.to_ne_bytes());
        bytes.extend(head);
        bytes.extend(body);
    }
    assert_eq!(read(&bytes).unwrap(), (owned(&events()), 4, None));
}

proptest! {
    #[test]
    fn a_changed_byte_is_noticed(at in HEADER_LEN..3200usize, bit in 0..8u8) {
        let mut bytes = recording(&events());
        prop_assume!(at < bytes.len());
        bytes[at] ^= 1 << bit;
        let (seen, _, flaw) = read(&bytes).unwrap();
        prop_assert!(flaw.is_some_and(|flaw| flaw.at <= at as u64));
        prop_assert!(owned(&events()).starts_with(&seen));
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = read(&bytes);
        let mut behind = recording(&events());
        behind.extend(bytes);
        prop_assert!(read(&behind).unwrap().0.len() >= 3);
    }
}

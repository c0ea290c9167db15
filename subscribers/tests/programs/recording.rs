//! `nlbus record` and `nlbus play`: what came is in the file, whatever ended it, and goes out again as it came.

use crate::host::{Ended, Host, Running, on_a_host};
use crate::terminal::Terminal;
use nlbus::{Bus, Content, Delivery, Start, Subscription};
use nlbus_subscribers::recording::{Flaw, Note, ReadError, Reader, Record};
use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::{TempDir, tempdir};

/// How long anything may take that should happen at once.
const PATIENCE: Duration = Duration::from_secs(30);

/// A folder, and the path of a recording in it.
fn folder() -> (TempDir, PathBuf) {
    let folder = tempdir().unwrap();
    let path = folder.path().join("events.nlrec");
    (folder, path)
}

/// `nlbus record` with these arguments, once it says that nothing can be missed any more.
fn record(host: &Host, file: &Path, args: &[&str]) -> Running {
    let mut record = host.nlbus(&[&["record", "-o", file.to_str().unwrap()], args].concat());
    while record.next_note() != "recording" {}
    record
}

/// `nlbus play` of a file with these arguments, at its end.
fn play(host: &Host, file: &Path, args: &[&str]) -> Ended {
    host.nlbus(&[&["play", file.to_str().unwrap()], args].concat()).end()
}

/// Publishes these numbers to `a`.
fn publish(bus: &Bus, numbers: RangeInclusive<u32>) {
    for number in numbers {
        bus.publish_acked("a", &number.to_string()).unwrap();
    }
}

/// A recording of 1 to 3 in `a`, and the broker and the connection they came by.
fn three_recorded(host: &Host) -> (TempDir, PathBuf, Running, Bus) {
    let (folder, file) = folder();
    let broker = host.broker();
    let bus = host.connect();
    let recorder = record(host, &file, &["a", "--count", "3"]);
    publish(&bus, 1..=3);
    assert_eq!(recorder.end().code, Some(0));
    (folder, file, broker, bus)
}

/// A broker whose histories keep all of a flood, and a connection to it.
fn roomy(host: &Host) -> (Running, Bus) {
    let mut broker = host.nlbus(&["broker", "--history", "1GiB"]);
    assert!(broker.next_line().starts_with("ready at port "));
    let bus = host.connect();
    bus.topic_options("flood").history(1 << 30).create().unwrap();
    (broker, bus)
}

/// What a recording has: topics, numbers, contents and payloads; notes; and what is wrong behind them.
type Events = Vec<(String, u64, u16, Vec<u8>)>;

fn read(file: &Path) -> (Events, Vec<Note>, Option<Flaw>) {
    let mut reader = Reader::open(File::open(file).unwrap()).unwrap();
    let (mut events, mut notes) = (Vec::new(), Vec::new());
    loop {
        match reader.read() {
            Ok(Some(Record::Event(event))) => {
                events.push((event.topic.to_owned(), event.header.seq, event.header.content, event.payload.to_vec()));
            }
            Ok(Some(Record::Note(note))) => notes.push(note),
            Ok(Some(Record::Unknown)) => panic!("unknown"),
            Ok(None) => return (events, notes, None),
            Err(ReadError::Flaw(flaw)) => return (events, notes, Some(flaw)),
            Err(ReadError::Io(error)) => panic!("{error}"),
        }
    }
}

/// All that a bus keeps of a topic that is at number `head`, as a recording has it.
fn kept(bus: &Bus, topic: &str, head: u64) -> Events {
    let mut subscription = bus.subscriber(topic).start(Start::All).open().unwrap();
    (0..head).map(|_| next(&mut subscription)).collect()
}

fn next(subscription: &mut Subscription) -> (String, u64, u16, Vec<u8>) {
    match subscription.recv_timeout(PATIENCE) {
        Ok(Delivery::Event(event)) => {
            (event.topic().to_owned(), event.seq(), event.content().to_wire(), event.payload().to_vec())
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_was_recorded_is_played() {
    on_a_host(|host| {
        let (_folder, file) = folder();
        let _broker = host.broker();
        let recorder = record(host, &file, &["#", "--exclude", "left/out", "--count", "4"]);
        let bus = host.connect();
        bus.publish_content_acked("a", Content::Json, "{}").unwrap();
        bus.publish_content_acked("b/ö", Content::Text, "two\nlines").unwrap();
        bus.publish_acked("left/out", "x").unwrap();
        bus.publish_acked("a", &[0xff; 60_000]).unwrap();
        bus.publish_value_acked("a", &7u32).unwrap();
        let ended = recorder.end();
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(ended.notes[0].contains("recorded 4 events of 2 topics, 0 lost"), "{ended:?}");
        let (mut events, notes, flaw) = read(&file);
        assert!(
            matches!(notes[..], [Note::Bus { .. }, Note::End { events: 4, lost: 0 }]) && flaw.is_none(),
            "{notes:?}"
        );
        // Between topics there is no order.
        events.sort();
        assert_eq!(events.iter().map(|event| &*event.0).collect::<Vec<_>>(), ["a", "a", "a", "b/ö"]);
        // On another bus.
        on_a_host(|host| {
            let _broker = host.broker();
            let bus = host.connect();
            let mut all = bus.subscribe("#").unwrap();
            let played = play(host, &file, &["--max"]);
            assert!(played.code == Some(0) && played.notes[0].ends_with("played 4 events"), "{played:?}");
            let mut seen = [(); 4].map(|()| next(&mut all));
            seen.sort();
            assert_eq!(events, seen);
            let played = play(host, &file, &["--max", "--topic", "+/#", "--exclude", "a/#", "--prefix", "old"]);
            assert!(played.notes[0].ends_with("played 1 event"), "{played:?}");
            assert_eq!(next(&mut all).0, "old/b/ö");
        });
    });
}

/// History has room for all of it, so none is lost, however slow the recorder is.
#[test]
fn killed_in_a_flood_it_has_whole_events_and_play_publishes_exactly_those() {
    const EVENTS: u64 = 1_000_000;
    on_a_host(|host| {
        let (_folder, file) = folder();
        let (_broker, bus) = roomy(host);
        let recorder = record(host, &file, &["flood"]);
        thread::scope(|scope| {
            let publisher = scope.spawn(|| {
                let buffered = bus.buffered();
                for number in 1..=EVENTS {
                    buffered.publish("flood", &format!("{number:>64}")).unwrap();
                }
                bus.flush().unwrap();
            });
            // Some of them are in the file, and many more are to come.
            let start = Instant::now();
            while fs::metadata(&file).unwrap().len() < 5 << 20 {
                assert!(start.elapsed() < PATIENCE && !publisher.is_finished(), "nothing is recorded");
                thread::yield_now();
            }
            recorder.signal("KILL");
        });
        assert_eq!(recorder.end().code, None);
        let (events, _, flaw) = read(&file);
        println!("{} of {EVENTS} events were recorded; {flaw:?}", events.len());
        assert!((1000..EVENTS).contains(&(events.len() as u64)), "killed in the middle");
        for (number, (topic, seq, _, payload)) in (1..).zip(&events) {
            assert_eq!((&**topic, *seq, &payload[..]), ("flood", number, format!("{number:>64}").as_bytes()));
        }
        on_a_host(|host| {
            let (_broker, bus) = roomy(host);
            let played = play(host, &file, &["--max"]);
            let count = events.len();
            assert!(played.code == Some(0), "{played:?}");
            assert!(played.notes.last().unwrap().ends_with(&format!("played {count} events")), "{played:?}");
            assert_eq!(played.notes.len(), 1 + usize::from(flaw.is_some()), "what is torn is told of: {played:?}");
            assert!(kept(&bus, "flood", count as u64) == events, "as they were, and no others");
            assert_eq!(bus.topic("flood").unwrap().unwrap().head, count as u64);
        });
    });
}

#[test]
fn one_that_was_torn_is_gone_on_with() {
    on_a_host(|host| {
        let (_folder, file, _broker, bus) = three_recorded(host);
        // In the middle of the third event: behind it is the note of the end.
        let whole = fs::metadata(&file).unwrap().len();
        let mut torn = OpenOptions::new().write(true).open(&file).unwrap();
        torn.set_len(whole - 60).unwrap();
        // More behind it than what is recorded next covers.
        torn.seek(SeekFrom::End(0)).unwrap();
        torn.write_all(&[0xff; 2000]).unwrap();
        let torn = play(host, &file, &["--info"]);
        assert!(
            torn.code == Some(0) && torn.output.iter().any(|line| line.contains("a record is damaged")),
            "{torn:?}"
        );
        let refused = host.nlbus(&["record", "a", "-o", file.to_str().unwrap()]).fails(1);
        assert!(refused.contains("exists") && refused.contains("--append"), "{refused}");
        let mut recorder = host.nlbus(&["record", "a", "-o", file.to_str().unwrap(), "--append", "--count", "1"]);
        let said = recorder.next_note();
        assert!(said.contains("cut ") && said.contains("behind the last whole record"), "{said}");
        assert_eq!(recorder.next_note(), "recording");
        bus.publish_acked("a", "4").unwrap();
        assert_eq!(recorder.end().code, Some(0));
        let (events, notes, flaw) = read(&file);
        assert_eq!(events.iter().map(|event| &event.3[..]).collect::<Vec<_>>(), [b"1", b"2", b"4"]);
        assert!(matches!(notes[..], [Note::Bus { .. }, Note::Bus { .. }, Note::End { events: 1, .. }]), "{notes:?}");
        assert_eq!(flaw, None);
        let about = play(host, &file, &["--info"]).output;
        for (key, value) in [("events", "3"), ("resumed", "1"), ("end", "in order")] {
            let is = |line: &String| line.starts_with(key) && line.ends_with(value);
            assert!(about.iter().any(is), "{key}: {about:?}");
        }
        // What isn't one is left alone.
        fs::write(&file, "text").unwrap();
        let refused = host.nlbus(&["record", "a", "-o", file.to_str().unwrap(), "--append"]).fails(1);
        assert!(refused.contains("isn't a recording"), "{refused}");
        assert_eq!(fs::read(&file).unwrap(), b"text");
    });
}

#[test]
fn a_part_is_played_by_time_and_at_another_pace() {
    on_a_host(|host| {
        let (_folder, file) = folder();
        let _broker = host.broker();
        let bus = host.connect();
        let recorder = record(host, &file, &["+"]);
        for number in 1..=4 {
            bus.publish_acked(if number % 2 == 0 { "even" } else { "odd" }, &format!("{number}")).unwrap();
            thread::sleep(Duration::from_millis(500));
        }
        recorder.signal("INT");
        let ended = recorder.end();
        assert!(ended.code == Some(130) && ended.notes[0].contains("recorded 4 events"), "{ended:?}");
        let about = play(host, &file, &["--info", "--from", "250ms", "--to", "+1250ms"]).output;
        assert!(about.iter().any(|line| line.starts_with("events") && line.ends_with(" 2")), "{about:?}");
        let first = about[0].split_whitespace().last().unwrap().to_owned();
        let mut all = bus.subscribe("old/#").unwrap();
        let set = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<BTreeSet<_>>();
        let mut payloads = |args: &[&str], count: usize| {
            let played = play(host, &file, &[&["--prefix", "old"], args].concat());
            assert!(played.code == Some(0), "{played:?}");
            // Between topics there is no order.
            (0..count).map(|_| String::from_utf8(next(&mut all).3).unwrap()).collect::<BTreeSet<_>>()
        };
        assert_eq!(payloads(&["--max", "--from", &first], 3), set(&["2", "3", "4"]), "by date");
        assert_eq!(payloads(&["--max", "--to", &first], 1), set(&["1"]));
        assert_eq!(payloads(&["--max", "--from", "250ms", "--to", "1250ms", "--topic", "odd"], 1), set(&["3"]));
        let start = Instant::now();
        assert_eq!(payloads(&["--speed", "100"], 4), set(&["1", "2", "3", "4"]));
        let fast = start.elapsed();
        let start = Instant::now();
        payloads(&["--from", "250ms"], 3);
        assert!(start.elapsed() >= Duration::from_millis(990), "not before their time");
        println!("1.5 s of events in {fast:?} at a hundred times their pace");
        for bad in ["0", "-1", "nan", "inf", "x"] {
            assert_eq!(play(host, &file, &["--speed", bad]).code, Some(2), "{bad}");
        }
        assert_eq!(play(host, &file, &["--from", "yesterday"]).code, Some(2));
    });
}

#[test]
fn what_is_damaged_is_played_up_to_there() {
    on_a_host(|host| {
        let (_folder, file, _broker, _bus) = three_recorded(host);
        let bytes = fs::read(&file).unwrap();
        let second = bytes.windows(2).rposition(|two| two == b"a\0").unwrap();
        let mut damaged = OpenOptions::new().write(true).open(&file).unwrap();
        damaged.seek(SeekFrom::Start(second as u64)).unwrap();
        damaged.write_all(b"b").unwrap();
        let played = play(host, &file, &["--max"]);
        assert!(played.code == Some(0) && played.notes[0].contains("checksum is wrong at byte "), "{played:?}");
        assert!(played.notes[1].ends_with("played 2 events"), "{played:?}");
        for (bytes, why) in [(&b""[..], "isn't a recording"), (&bytes[..10], "header is damaged")] {
            fs::write(&file, bytes).unwrap();
            let ended = play(host, &file, &[]);
            assert!(ended.code == Some(1) && ended.notes[0].contains(why), "{ended:?}");
        }
        let missing = play(host, Path::new("/no/such"), &[]);
        assert!(missing.code == Some(1) && missing.notes[0].contains("'/no/such'"), "{missing:?}");
    });
}

#[test]
fn a_full_disk_ends_it_and_what_is_there_is_whole() {
    on_a_host(|host| {
        let (_folder, file) = folder();
        let _broker = host.broker();
        let bus = host.connect();
        let line = format!("trap '' XFSZ; ulimit -f 1024; nlbus record a -o '{}'", file.display());
        let mut recorder = host.shell(&line);
        assert_eq!(recorder.next_note(), "recording");
        let buffered = bus.buffered();
        for number in 0..2000 {
            buffered.publish("a", &vec![number as u8; 1000]).unwrap();
        }
        bus.flush().unwrap();
        let ended = recorder.end();
        let said = ended.notes.last().unwrap();
        assert!(ended.code == Some(1) && said.contains("can't write to") && said.contains("--append"), "{ended:?}");
        let (events, ..) = read(&file);
        assert!(events.len() > 100, "{} events", events.len());
        assert!((0..).zip(&events).all(|(number, event)| event.1 == number + 1 && event.3 == vec![number as u8; 1000]));
    });
}

#[test]
fn a_recording_goes_through_a_pipe() {
    on_a_host(|host| {
        let _broker = host.broker();
        let bus = host.connect();
        let mut piped = host.shell("nlbus record a --count 3 -o - | nlbus play - --max --prefix copy");
        assert_eq!(piped.next_note(), "recording");
        publish(&bus, 1..=3);
        let ended = piped.end();
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert_eq!(kept(&bus, "copy/a", 3).into_iter().map(|event| event.3).collect::<Vec<_>>(), [b"1", b"2", b"3"]);
        // Who reads no more has enough of it.
        assert_eq!(host.shell("nlbus record a -o - | head -c 10 > /dev/null; echo done").succeeds(), ["done"]);
    });
}

#[test]
fn restarts_and_ends_of_topics_are_in_the_recording() {
    on_a_host(|host| {
        let (_folder, file) = folder();
        let broker = host.broker();
        let bus = host.connect();
        let recorder = record(host, &file, &["#", "--count", "2"]);
        let wait_for = |is_there: &dyn Fn() -> bool| {
            let start = Instant::now();
            while !is_there() {
                assert!(start.elapsed() < PATIENCE, "it isn't recorded");
                thread::yield_now();
            }
        };
        bus.publish_acked("a", "1").unwrap();
        wait_for(&|| read(&file).0.len() == 1);
        bus.delete_topic("a").unwrap();
        wait_for(&|| read(&file).1.len() == 2);
        drop(broker);
        let _broker = host.broker();
        let before = Instant::now();
        while host.connect().publish_acked("b", "2").is_err() && before.elapsed() < PATIENCE {}
        assert_eq!(recorder.end().code, Some(0));
        let (events, notes, _) = read(&file);
        assert_eq!(events.iter().map(|event| &*event.0).collect::<Vec<_>>(), ["a", "b"]);
        let said: Vec<_> =
            notes.iter().map(|note| note.to_string().split(' ').take(3).collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(
            said,
            ["recorded from the", "topic 'a' ended", "the broker restarted;", "recording ended in"],
            "{notes:?}"
        );
    });
}

#[test]
fn reserved_topics_are_left_out_unless_they_get_another_place() {
    on_a_host(|host| {
        let (_folder, file) = folder();
        let _broker = host.broker();
        let recorder = record(host, &file, &["$SYS/topics", "--count", "1"]);
        host.connect().create_topic("new").unwrap();
        assert_eq!(recorder.end().code, Some(0));
        let played = play(host, &file, &["--max"]);
        assert!(
            played.code == Some(0) && played.notes[0].contains("played 0 events; 1 of reserved topics"),
            "{played:?}"
        );
        let played = play(host, &file, &["--max", "--prefix", "old"]);
        assert!(played.notes[0].ends_with("played 1 event"), "{played:?}");
        assert_eq!(host.connect().topic("old/$SYS/topics").unwrap().unwrap().head, 1);
    });
}

#[test]
fn progress_is_drawn_on_terminals() {
    on_a_host(|host| {
        let (_folder, file) = folder();
        let _broker = host.broker();
        let bus = host.connect();
        let path = file.to_str().unwrap();
        let recorder = Terminal::start(host, &["record", "a", "-o", path, "--count", "40"], 80, 24);
        recorder.shows("start", |screen| screen.contains("recording"));
        for number in 1..=40 {
            bus.publish_acked("a", &number.to_string()).unwrap();
            thread::sleep(Duration::from_millis(10));
        }
        let (status, _, screen) = recorder.end();
        assert!(status.success() && screen.contains("recorded 40 events of 1 topic, 0 lost"), "{screen}");
        // Half a second's worth, played at its pace.
        let player = Terminal::start(host, &["play", path, "--prefix", "old"], 80, 24);
        player.shows("progress", |screen| screen.contains("% ") && screen.contains(" events, old/a"));
        let (status, _, screen) = player.end();
        assert!(status.success() && screen.contains("played 40 events") && !screen.contains('%'), "{screen}");
        // Elsewhere there is nothing but lines.
        let played = play(host, &file, &["--max"]);
        assert!(played.notes.len() == 1 && !played.notes[0].contains(['\r', '\x1b']), "{played:?}");
    });
}

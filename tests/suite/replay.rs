//! Broadcasts, `TOPIC` and `REPLAY` as they are on the wire: packs, pages, cursors, closing messages.

use nix::errno::Errno;
use nlbus::wire::uapi::*;
use nlbus::wire::{
    Answer, Content, EventView, Header, Info, ReplayEnd, ReplayRequest, TopicKey, TopicPageEnd, TopicRecord,
    TopicRequest, push_info_request, push_message, push_publish,
};
use nlbus_tests::{Datagram, Endpoint, Fixture, RawClient, cases, payload};
use std::collections::BTreeMap;

cases![
    broadcasts_are_packed_and_say_where_they_end,
    a_replay_is_one_datagram_with_a_closing_message,
    a_replay_keeps_to_its_limit_and_says_where_to_go_on,
    a_replay_begins_anywhere_among_the_events_of_a_datagram,
    a_replay_of_large_events_comes_in_pages,
    a_replay_that_begins_before_history_begins_there,
    topics_are_listed_in_pages,
    since_lists_only_what_changed,
    a_topic_is_found_by_name_and_by_id,
    an_ack_follows_the_reply_if_asked_for,
    info_says_where_everything_is,
    several_requests_in_a_datagram_are_answered_in_order,
    what_only_the_bus_can_refuse_is_refused_alone,
];

fn info(raw: &RawClient) -> Info {
    let mut request = Vec::new();
    push_info_request(&mut request, 1);
    Info::read(raw.ask(&request).messages()[0].body).unwrap()
}

fn record(raw: &RawClient, name: &str) -> TopicRecord {
    let mut request = Vec::new();
    TopicRequest::Get(TopicKey::Name(name)).push(&mut request, 2);
    TopicRecord::read(raw.ask(&request).messages()[0].body).unwrap()
}

/// Whoever reads the group without the library sees what docs/PROTOCOL.md says.
fn broadcasts_are_packed_and_say_where_they_end() {
    const COUNT: u64 = 400;
    let fixture = Fixture::new();
    let (bus, raw) = (fixture.connect(), fixture.raw());
    let (info, topic) = (info(&raw), bus.create_topic("packed").unwrap());
    raw.join(topic.group).unwrap();
    let mut batch = bus.batch();
    for number in 1..=COUNT {
        batch.push("packed", &payload(1, number, 64)).unwrap();
    }
    assert_eq!(batch.send_acked().unwrap(), Some(COUNT));
    let (mut next, mut packs, mut boot) = (1, 0, 0);
    while next <= COUNT {
        let datagram = raw.receive();
        packs += 1;
        assert!(datagram.bytes.len() <= info.limits.pack as usize, "{} bytes in a pack", datagram.bytes.len());
        assert_eq!((datagram.port, datagram.groups), (info.publish_port, 1 << (topic.group - 1)));
        let messages = datagram.messages();
        for (at, message) in messages.iter().enumerate() {
            let more = if at + 1 < messages.len() { NLM_F_MULTI } else { 0 };
            let want = Header { kind: NLBUS_MSG_EVENT, flags: more, seq: info.epoch as u32, portid: 0 };
            assert_eq!(message.header, want, "message {at} of {}", messages.len());
            let event = EventView::parse(message.body).unwrap();
            assert_eq!((event.header.seq, event.header.topic_id, event.header.flags), (next, topic.id, 0));
            assert_eq!((event.topic, event.payload), ("packed", &payload(1, next, 64)[..]));
            assert!(event.header.time_ns >= boot);
            boot = event.header.time_ns;
            next += 1;
        }
    }
    // 128 bytes an event, and not many more packs than they need when they come at once.
    let least = (COUNT * 128).div_ceil(info.limits.pack.into());
    assert!((least..=5 * least).contains(&packs), "{COUNT} events in {packs} packs, {least} are enough");
}

/// A page's events and its end, with its framing checked.
fn page<'a>(raw: &RawClient, datagram: &'a Datagram, seq: u32) -> (Vec<EventView<'a>>, ReplayEnd) {
    assert!(datagram.bytes.len() <= NLBUS_DATAGRAM_MAX, "{} bytes", datagram.bytes.len());
    assert_eq!((datagram.port, datagram.groups), (raw.port_of(Endpoint::Request), 0));
    let messages = datagram.messages();
    let (end, events) = messages.split_last().expect("a closing message");
    assert_eq!((end.header.kind, end.header.flags & NLM_F_MULTI, end.header.seq), (NLBUS_MSG_REPLAY, 0, seq));
    let events = events.iter().map(|message| {
        let Header { kind, flags, seq: echoed, .. } = message.header;
        assert_eq!((kind, flags & NLM_F_MULTI, echoed), (NLBUS_MSG_EVENT, NLM_F_MULTI, seq));
        let event = EventView::parse(message.body).unwrap();
        assert_eq!(event.header.flags & NLBUS_EVENT_F_REPLAYED, NLBUS_EVENT_F_REPLAYED);
        event
    });
    (events.collect(), ReplayEnd::read(end.body).unwrap())
}

fn replay(raw: &RawClient, epoch: u64, topic_id: u32, from: u64, limit: Option<u32>, seq: u32) -> Datagram {
    let mut request = Vec::new();
    ReplayRequest { epoch, topic_id, from, limit }.push(&mut request, seq);
    raw.ask(&request)
}

/// A topic with this many events of a size, and the bus's epoch.
fn history(fixture: &Fixture, count: u64, size: usize) -> (RawClient, u64, u32) {
    let (bus, raw) = (fixture.connect(), fixture.raw());
    for number in 1..=count {
        assert_eq!(bus.publish_acked("history", &payload(1, number, size)).unwrap(), number);
    }
    let (epoch, id) = (info(&raw).epoch, record(&raw, "history").id);
    (raw, epoch, id)
}

fn a_replay_is_one_datagram_with_a_closing_message() {
    let fixture = Fixture::new();
    let (raw, epoch, id) = history(&fixture, 10, 64);
    let datagram = replay(&raw, epoch, id, 1, None, 77);
    let (events, end) = page(&raw, &datagram, 77);
    assert_eq!(end, {
        let mut want = ReplayEnd::default();
        (want.topic_id, want.first, want.next, want.head) = (id, 1, 11, 10);
        want
    });
    for (number, event) in (1..).zip(&events) {
        assert_eq!((event.header.seq, event.header.topic_id, event.topic), (number, id, "history"));
        assert_eq!(event.payload, payload(1, number, 64));
        assert_eq!(event.header.pid, std::process::id());
    }
    assert_eq!(events.len(), 10);
    // From the next one to come: nothing, and that is no error.
    let datagram = replay(&raw, epoch, id, 11, None, 78);
    let (events, end) = page(&raw, &datagram, 78);
    assert_eq!((events.len(), end.next, end.head), (0, 11, 10));
    assert_eq!(raw.try_receive(), None, "one datagram");
}

fn a_replay_keeps_to_its_limit_and_says_where_to_go_on() {
    let fixture = Fixture::new();
    let (raw, epoch, id) = history(&fixture, 25, 64);
    let (mut from, mut seen) = (3, Vec::new());
    while from <= 25 {
        let datagram = replay(&raw, epoch, id, from, Some(4), from as u32);
        let (events, end) = page(&raw, &datagram, from as u32);
        assert!((1..=4).contains(&events.len()), "{} events", events.len());
        seen.extend(events.iter().map(|event| event.header.seq));
        assert_eq!((end.next, end.first, end.head), (seen[seen.len() - 1] + 1, 1, 25));
        from = end.next;
    }
    assert_eq!(seen, Vec::from_iter(3..=25));
}

/// However a broker keeps what came together, a replay begins with the event that is asked for and ends where it says.
fn a_replay_begins_anywhere_among_the_events_of_a_datagram() {
    const DATAGRAMS: u64 = 3;
    const EACH: u64 = 70;
    let fixture = Fixture::new();
    let (bus, raw) = (fixture.connect(), fixture.raw());
    for datagram in 0..DATAGRAMS {
        let mut batch = bus.batch();
        for number in datagram * EACH + 1..=(datagram + 1) * EACH {
            batch.push("history", &payload(1, number, 64)).unwrap();
        }
        batch.send_acked().unwrap();
        let lone = bus.publish_acked("other", &payload(2, datagram, 64)).unwrap();
        assert_eq!(lone, datagram + 1);
    }
    let (epoch, id, head) = (info(&raw).epoch, record(&raw, "history").id, DATAGRAMS * EACH);
    for from in 1..=head {
        for limit in [1, 45] {
            let datagram = replay(&raw, epoch, id, from, Some(limit), 5);
            let (events, end) = page(&raw, &datagram, 5);
            let last = (from + u64::from(limit)).min(head + 1);
            let seen: Vec<_> = events.iter().map(|event| event.header.seq).collect();
            assert_eq!((seen, end.next), ((from..last).collect(), last));
            let right = |event: &EventView<'_>| event.payload == payload(1, event.header.seq, 64);
            assert!(events.iter().all(right), "payloads from {from}");
        }
    }
}

fn a_replay_of_large_events_comes_in_pages() {
    let fixture = Fixture::new();
    let (raw, epoch, id) = history(&fixture, 8, 25_000);
    let (mut from, mut pages, mut seen) = (1, 0, 0);
    while from <= 8 {
        let datagram = replay(&raw, epoch, id, from, None, 5);
        let (events, end) = page(&raw, &datagram, 5);
        assert!((1..=2).contains(&events.len()), "two events of 25 000 bytes fit a datagram: {}", events.len());
        seen += events.len();
        pages += 1;
        from = end.next;
    }
    assert_eq!((seen, pages), (8, 4));
}

fn a_replay_that_begins_before_history_begins_there() {
    let fixture = Fixture::new();
    let (bus, raw) = (fixture.connect(), fixture.raw());
    let limit = bus.info().unwrap().limits.topic_history;
    let count = limit / 50_000 + 10;
    for number in 1..=count {
        bus.publish_acked("history", &payload(1, number, 50_000)).unwrap();
    }
    let record = record(&raw, "history");
    assert!(record.first > 1, "{record:?}");
    let datagram = replay(&raw, info(&raw).epoch, record.id, 1, Some(1), 5);
    let (events, end) = page(&raw, &datagram, 5);
    assert_eq!(
        (events[0].header.seq, end.first, end.next, end.head),
        (record.first, record.first, record.first + 1, count)
    );
}

fn list(raw: &RawClient, cursor: u32, since: Option<u64>, seq: u32) -> (Vec<TopicRecord>, TopicPageEnd) {
    let mut request = Vec::new();
    TopicRequest::List { cursor, since }.push(&mut request, seq);
    let datagram = raw.ask(&request);
    assert!(datagram.bytes.len() <= NLBUS_DATAGRAM_MAX);
    let messages = datagram.messages();
    let (end, records) = messages.split_last().expect("a closing message");
    assert_eq!((end.header.kind, end.header.flags & NLM_F_MULTI, end.header.seq), (NLBUS_MSG_TOPIC, 0, seq));
    let records = records.iter().map(|message| {
        let Header { kind, flags, seq: echoed, .. } = message.header;
        assert_eq!((kind, flags & NLM_F_MULTI, echoed), (NLBUS_MSG_TOPIC, NLM_F_MULTI, seq));
        TopicRecord::read(message.body).unwrap()
    });
    (records.collect(), TopicPageEnd::read(end.body).unwrap())
}

fn topics_are_listed_in_pages() {
    const COUNT: usize = 700;
    let fixture = Fixture::new();
    let (bus, raw) = (fixture.connect(), fixture.raw());
    for topic in 0..COUNT {
        // Long names fill pages.
        bus.publish(&format!("{}/{topic}", "long".repeat(40)), "x").unwrap();
    }
    bus.flush().unwrap();
    let (mut cursor, mut pages, mut seen) = (0, 0, Vec::new());
    loop {
        let (records, end) = list(&raw, cursor, None, 9);
        assert!(records.iter().all(|record| record.id > cursor));
        seen.extend(records);
        pages += 1;
        assert_eq!(end.last_id, seen.last().map_or(0, |last| last.id).max(end.last_id));
        let Some(next) = end.cursor else { break };
        assert_eq!(next, seen[seen.len() - 1].id, "the cursor is where the page ended");
        cursor = next;
    }
    assert!(pages > 1, "all in one page");
    assert!(seen.windows(2).all(|two| two[0].id < two[1].id), "not in the order of their ids");
    assert_eq!(seen.iter().filter(|record| record.name.starts_with("long")).count(), COUNT);
    let (records, end) = list(&raw, u32::MAX, None, 9);
    assert_eq!((records.len(), end.cursor), (0, None));
}

fn since_lists_only_what_changed() {
    let fixture = Fixture::new();
    let (bus, raw) = (fixture.connect(), fixture.raw());
    for topic in ["a", "b", "c"] {
        bus.publish_acked(topic, "x").unwrap();
    }
    let since = list(&raw, 0, None, 1).1.change;
    bus.publish_acked("b", "x").unwrap();
    bus.create_topic("d").unwrap();
    let (records, end) = list(&raw, 0, Some(since), 1);
    // A heartbeat may have come in between.
    let names: Vec<_> = records.iter().map(|r| r.name.as_str()).filter(|name| !name.starts_with("$SYS/")).collect();
    assert_eq!(names, ["b", "d"]);
    assert!(end.change > since && records.iter().all(|record| record.change > since && record.change <= end.change));
    assert_eq!(records.iter().find(|record| record.name == "b").map(|record| record.head), Some(2));
}

fn a_topic_is_found_by_name_and_by_id() {
    let fixture = Fixture::new();
    let (bus, raw) = (fixture.connect(), fixture.raw());
    bus.publish_acked("find/me", "x").unwrap();
    let by_name = record(&raw, "find/me");
    let mut request = Vec::new();
    TopicRequest::Get(TopicKey::Id(by_name.id)).push(&mut request, 3);
    let by_id = TopicRecord::read(raw.ask(&request).messages()[0].body).unwrap();
    assert_eq!(by_id, by_name);
    assert_eq!((by_id.head, by_id.first, by_id.uid), (1, 1, nix::unistd::getuid().as_raw()));
    // The broker's own, under the ids that it began with.
    let (records, _) = list(&raw, 0, None, 1);
    let own: Vec<_> = records.iter().take(3).map(|record| (record.name.as_str(), record.group)).collect();
    let sys = NLBUS_GROUP_SYS;
    assert_eq!(own, [(NLBUS_SYS_HEARTBEAT, sys), (NLBUS_SYS_TOPICS, sys), (NLBUS_SYS_CLOSING, sys)]);
}

fn an_ack_follows_the_reply_if_asked_for() {
    let fixture = Fixture::new();
    let raw = fixture.raw();
    let header = Header { kind: NLBUS_MSG_INFO, flags: NLM_F_REQUEST | NLM_F_ACK, seq: 40, portid: 0 };
    let mut request = Vec::new();
    push_message(&mut request, header, |_| {});
    let reply = raw.ask(&request);
    assert_eq!(reply.messages()[0].header.kind, NLBUS_MSG_INFO);
    let answer = raw.receive().answer();
    assert_eq!((answer.to.seq, answer.result), (40, Ok(None)));
    assert_eq!(raw.try_receive(), None);
}

fn info_says_where_everything_is() {
    let fixture = Fixture::new();
    let raw = fixture.raw();
    let info = info(&raw);
    assert_eq!((info.version, info.broker), (NLBUS_VERSION, fixture.kind));
    assert_eq!(
        (info.publish_port, info.request_port),
        (raw.port_of(Endpoint::Publish), raw.port_of(Endpoint::Request))
    );
    assert_ne!(info.epoch, 0);
    assert_eq!((info.limits.payload, info.limits.datagram), (NLBUS_PAYLOAD_MAX as u32, NLBUS_DATAGRAM_MAX as u32));
    assert!(info.limits.topics > 8 && info.limits.queue > 0 && info.limits.pack >= 1024, "{info:?}");
    assert!(info.limits.history > 0 && info.limits.topic_history > 0 && info.groups >= 32, "{info:?}");
    assert_eq!(info.heartbeat_ms, 1000);
    // The offset makes wall-clock time of an event's.
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as i128;
    let boot = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME).unwrap();
    let boot = i128::from(boot.tv_sec()) * 1_000_000_000 + i128::from(boot.tv_nsec());
    assert!((now - boot - i128::from(info.clock_offset_ns)).abs() < 2_000_000_000, "{info:?}");
}

fn what_only_the_bus_can_refuse_is_refused_alone() {
    let fixture = Fixture::new();
    let raw = fixture.raw();
    let mut datagram = Vec::new();
    push_publish(&mut datagram, 1, false, 0, Content::Text, "kept", b"x");
    TopicRequest::Get(TopicKey::Name("absent")).push(&mut datagram, 2);
    push_info_request(&mut datagram, 3);
    push_publish(&mut datagram, 4, true, 0, Content::Text, "kept", b"x");
    raw.send(Endpoint::Publish, &datagram);
    let mut seen = BTreeMap::new();
    while seen.len() < 3 {
        for message in raw.receive().messages() {
            let answer = (message.header.kind == NLMSG_ERROR).then(|| Answer::parse(&message).unwrap().result);
            seen.insert(message.header.seq, answer.map(|result| result.map_err(|refusal| refusal.errno)));
        }
    }
    let want = [(2, Some(Err(Errno::ENOENT))), (3, None), (4, Some(Ok(Some(2))))];
    assert_eq!(seen, BTreeMap::from(want));
}

fn several_requests_in_a_datagram_are_answered_in_order() {
    let fixture = Fixture::new();
    let raw = fixture.raw();
    let mut datagram = Vec::new();
    push_info_request(&mut datagram, 1);
    push_publish(&mut datagram, 2, false, 0, Content::Text, "made/here", b"x");
    TopicRequest::create("made/here").push(&mut datagram, 3);
    push_publish(&mut datagram, 4, true, 0, Content::Text, "made/here", b"x");
    raw.send(Endpoint::Publish, &datagram);
    let (mut seen, mut ack) = (Vec::new(), None);
    while seen.len() < 2 || ack.is_none() {
        for message in raw.receive().messages() {
            match message.header.kind {
                NLMSG_ERROR => ack = Some(Answer::parse(&message).unwrap()),
                kind => seen.push((kind, message.header.seq)),
            }
        }
    }
    assert_eq!(seen, [(NLBUS_MSG_INFO, 1), (NLBUS_MSG_TOPIC, 3)]);
    let ack = ack.expect("an ack");
    assert_eq!((ack.to.seq, ack.result), (4, Ok(Some(2))));
}

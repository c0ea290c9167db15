//! Promise 11: a client may leave an event that the broker publishes when the client goes away without taking it back, also when
//! it is killed. And who comes and goes is told, in a group of its own.

use nlbus::wire::{ClientNews, ClientsAnnouncement, WillRequest};
use nlbus::{Bus, Content, RequestError, Start, TypedDelivery};
use nlbus_tests::{
    Args, Child, Fixture, Place, RawClient, Role, cases, collect, events, hear, patience, quiet, say, value, wait_for,
};
use std::collections::BTreeMap;
use std::process;
use std::time::Instant;

cases![
    a_killed_clients_will_comes_once_and_behind_all_it_sent,
    a_will_that_is_taken_back_is_not_published,
    the_last_will_is_the_one_that_counts,
    who_comes_back_with_the_same_port_is_another_one,
    wills_go_to_the_topic_that_has_the_name_then,
    who_may_not_publish_any_more_leaves_nothing,
    a_will_takes_what_publishing_takes,
    a_thousand_clients_that_are_killed_leave_a_thousand_wills alone,
    comings_and_goings_are_told,
    there_are_so_many_wills_and_no_more user_only,
    another_broker_gets_the_will user_only,
];

pub(crate) const ROLES: &[(&str, Role)] = &[("testator", testator), ("testators", testators)];

/// Connects, publishes so many `events` to `topic`, leaves a will there that is its process id, says `left`, and does what it is
/// told: `clear`, `again`, `close`, `drop`; waits to be killed otherwise.
fn testator(place: Place, args: &Args) {
    let topic: String = args.need("topic");
    // With a thread: who drives himself has to, or he doesn't find the next broker.
    let bus = place.builder_for(false).connect().unwrap();
    bus.set_will_content(&topic, Content::Text, &process::id().to_string()).unwrap();
    for number in 0..args.get("events").unwrap_or(0) {
        bus.publish(&topic, &format!("{number}")).unwrap();
    }
    say(format_args!("left pid={}", process::id()));
    loop {
        match hear().as_str() {
            "clear" => bus.clear_will().unwrap(),
            "again" => bus.set_will(&topic, "another").unwrap(),
            "close" => return bus.close().unwrap(),
            "drop" => return drop(bus),
            _ => return,
        }
        say(format_args!("done"));
    }
}

/// Makes so many clients, each with a will in `wills/NUMBER`, from `first` on, and waits to be killed.
fn testators(place: Place, args: &Args) {
    let (first, count): (u32, u32) = (args.need("first"), args.need("count"));
    let leave = |number: u32| {
        // Driven by the caller, so without a thread for each.
        let bus = place.builder_for(true).connect().unwrap();
        bus.set_will(&format!("wills/{number}"), &number.to_string()).unwrap();
        bus
    };
    let clients: Vec<Bus> = (first..first + count).map(leave).collect();
    say(format_args!("left"));
    hear();
    drop(clients);
}

/// Starts a testator who has left its will, and says its process id.
fn leave(fixture: &Fixture, topic: &str, count: u32) -> (Child, u32) {
    let mut child = fixture.spawn("testator", &[format!("topic={topic}"), format!("events={count}")]);
    let line = child.line();
    let pid = value(&line, "pid") as u32;
    (child, pid)
}

fn a_killed_clients_will_comes_once_and_behind_all_it_sent() {
    const EVENTS: u32 = 200;
    let fixture = Fixture::new();
    let bus = fixture.connect();
    let mut subscription = bus.subscribe("will/+").unwrap();
    for round in 0..3 {
        let (mut child, pid) = leave(&fixture, "will/a", EVENTS);
        child.kill();
        let seen = events(&mut subscription, EVENTS as usize + 1);
        let (will, sent) = seen.split_last().unwrap();
        assert!(sent.iter().all(|event| !event.is_will()), "in round {round}");
        assert!(will.is_will());
        assert_eq!((will.payload(), will.content()), (pid.to_string().as_bytes(), Content::Text));
        assert_eq!((will.sender().pid, will.sender().portid), (pid, sent[0].sender().portid));
        assert_eq!(will.sender().uid, sent[0].sender().uid);
        quiet(&mut subscription);
    }
    // History has it as any other.
    let mut late = bus.subscriber("will/a").start(Start::Last(1)).open().unwrap();
    assert!(events(&mut late, 1)[0].is_will());
    assert_eq!(bus.info().unwrap().counters.wills, 0);
}

fn a_will_that_is_taken_back_is_not_published() {
    let fixture = Fixture::new();
    let bus = fixture.connect();
    let mut subscription = bus.subscribe("will/#").unwrap();
    // Taken back, or closed well.
    let (mut cleared, _) = leave(&fixture, "will/cleared", 0);
    assert_eq!(bus.info().unwrap().counters.wills, 1);
    cleared.say("clear");
    cleared.expect("done");
    assert_eq!(bus.info().unwrap().counters.wills, 0);
    cleared.kill();
    let (mut closed, _) = leave(&fixture, "will/closed", 0);
    closed.say("close");
    closed.end_well();
    // Ended without that.
    let (mut dropped, pid) = leave(&fixture, "will/dropped", 0);
    dropped.say("drop");
    dropped.end_well();
    let seen = events(&mut subscription, 1);
    assert_eq!((seen[0].topic(), seen[0].payload()), ("will/dropped", pid.to_string().as_bytes()));
    quiet(&mut subscription);
}

fn the_last_will_is_the_one_that_counts() {
    let fixture = Fixture::new();
    let bus = fixture.connect();
    let mut subscription = bus.subscribe("will/#").unwrap();
    let (mut child, _) = leave(&fixture, "will/a", 0);
    child.say("again");
    child.expect("done");
    assert_eq!(bus.info().unwrap().counters.wills, 1);
    child.kill();
    assert_eq!(events(&mut subscription, 1)[0].payload(), b"another");
    quiet(&mut subscription);
}

/// A process that closes its socket and opens another one mostly gets the same port id.
fn who_comes_back_with_the_same_port_is_another_one() {
    const PORT: u32 = 0x7654_3210;
    let fixture = Fixture::new();
    let bus = fixture.connect();
    let mut subscription = bus.subscribe("will/#").unwrap();
    let leave = |payload: &[u8]| {
        let raw = RawClient::bind(*fixture, PORT).unwrap();
        let mut will = Vec::new();
        WillRequest::Set { topic: "will/a", content: 0, payload }.push(&mut will, 1);
        assert_eq!(raw.ask(&will).answer().result, Ok(None));
        raw
    };
    for _ in 0..20 {
        // Looked at several times while it lives, or not once.
        let first = leave(b"first");
        drop(first);
        let second = leave(b"second");
        assert_eq!(events(&mut subscription, 1)[0].payload(), b"first");
        quiet(&mut subscription);
        drop(second);
        assert_eq!(events(&mut subscription, 1)[0].payload(), b"second");
    }
    assert_eq!(bus.info().unwrap().counters.wills, 0);
}

/// A will doesn't hold on to a topic: it may be deleted, and a new one has the name.
fn wills_go_to_the_topic_that_has_the_name_then() {
    let fixture = Fixture::new();
    let bus = fixture.connect();
    let (mut child, _) = leave(&fixture, "will/a", 0);
    let old = bus.topic("will/a").unwrap().expect("it was created for the will");
    bus.delete_topic("will/a").unwrap();
    assert_eq!(bus.topic("will/a").unwrap(), None);
    let mut subscription = bus.subscribe("will/a").unwrap();
    child.kill();
    let will = &events(&mut subscription, 1)[0];
    assert!(will.is_will() && will.topic_id() > old.id, "{will:?}");
    assert_eq!(will.seq(), 1);
}

fn who_may_not_publish_any_more_leaves_nothing() {
    let fixture = Fixture::new();
    let bus = fixture.connect();
    bus.create_topic("will/a").unwrap();
    let mut subscription = bus.subscribe("will/#").unwrap();
    let mut client = fixture.spawn("client", &["uid=1000".to_owned()]);
    client.expect("ready");
    client.say("will will/a");
    client.expect("left");
    bus.topic_options("will/a").mode(0o644).set().unwrap();
    let refused = bus.info().unwrap().counters.refused;
    client.kill();
    wait_for("the will to be refused", || (bus.info().unwrap().counters.refused > refused).then_some(()));
    quiet(&mut subscription);
    // Nor may he leave another one there.
    let mut client = fixture.spawn("client", &["uid=1000".to_owned()]);
    client.expect("ready");
    client.say("will will/a");
    let said = client.line();
    assert!(said.contains("EACCES") && said.contains("will/a"), "{said}");
    assert_eq!(bus.info().unwrap().counters.wills, 0);
}

fn a_will_takes_what_publishing_takes() {
    let fixture = Fixture::new();
    let bus = fixture.connect();
    for name in ["", "a/+", "a\0"] {
        let error = bus.set_will(name, "x").unwrap_err();
        assert!(matches!(error, RequestError::Topic { .. }), "{name:?}: {error}");
    }
    for name in ["$SYS/clients", "kernel/will"] {
        let error = bus.set_will(name, "x").unwrap_err();
        assert!(matches!(&error, RequestError::Refused(refusal) if refusal.to_string().contains(name)), "{error}");
    }
    let error = bus.set_will("a", &vec![0; 64_513]).unwrap_err();
    assert_eq!(error, RequestError::Payload { len: 64_513 });
    // The largest, and none at all.
    for size in [64_512, 0] {
        let payload = vec![b'w'; size];
        let mut subscription = bus.subscribe("will/#").unwrap();
        let other = fixture.connect();
        other.set_will("will/large", &payload).unwrap();
        drop(other);
        assert!(events(&mut subscription, 1)[0].payload() == payload, "{size} bytes");
    }
}

fn a_thousand_clients_that_are_killed_leave_a_thousand_wills() {
    const CLIENTS: u32 = 1000;
    const EACH: u32 = 10;
    let fixture = Fixture::new();
    let bus = fixture.connect();
    let mut subscription = bus.subscribe("wills/+").unwrap();
    let start = |first: u32| fixture.spawn("testators", &[format!("first={first}"), format!("count={EACH}")]);
    let mut processes: Vec<Child> = (0..CLIENTS / EACH).map(|process| start(process * EACH)).collect();
    processes.iter_mut().for_each(|process| process.expect("left"));
    assert_eq!(bus.info().unwrap().counters.wills, u64::from(CLIENTS));
    processes.iter_mut().for_each(Child::kill);
    let mut wills: BTreeMap<String, u32> = BTreeMap::new();
    let deliveries = collect(&mut subscription, |deliveries| deliveries.len() == CLIENTS as usize);
    for delivery in &deliveries {
        let event = delivery.event().unwrap_or_else(|| panic!("no event: {delivery:?}"));
        assert!(event.is_will());
        assert_eq!(event.topic(), format!("wills/{}", String::from_utf8_lossy(event.payload())));
        *wills.entry(event.topic().to_owned()).or_default() += 1;
    }
    quiet(&mut subscription);
    println!("    {CLIENTS} clients in {} processes were killed: {} wills", CLIENTS / EACH, deliveries.len());
    assert_eq!(wills.len(), CLIENTS as usize);
    assert!(wills.values().all(|count| *count == 1));
    assert_eq!(bus.info().unwrap().counters.wills, 0);
}

fn comings_and_goings_are_told() {
    let fixture = Fixture::new();
    let bus = fixture.connect();
    let group = bus.topic("$SYS/clients").unwrap().expect("a topic").group;
    assert_eq!((group, bus.topic("$SYS/topics").unwrap().expect("a topic").group), (2, 1));
    let mut subscription = bus.subscribe_as::<ClientsAnnouncement>("$SYS/clients").unwrap();
    let mut wills = bus.subscribe("will/a").unwrap();
    let (mut child, pid) = leave(&fixture, "will/a", 1);
    // It may have had another socket, to find the broker.
    let portid = events(&mut wills, 1)[0].sender().portid;
    let mut next = |left: bool| -> ClientNews {
        let deadline = Instant::now() + patience();
        loop {
            match subscription.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(TypedDelivery::Value(said, event)) => {
                    assert!(event.sender().kernel || event.sender().portid == 0);
                    let found = said.clients.iter().find(|client| client.portid == portid && client.left == left);
                    if let Some(client) = found {
                        return *client;
                    }
                }
                other => panic!("no word of {portid}: {other:?}"),
            }
        }
    };
    let joined = next(false);
    assert_eq!((joined.pid, joined.uid), (pid, 0));
    let before = bus.info().unwrap().counters.clients;
    child.kill();
    let left = next(true);
    assert_eq!(ClientNews { left: false, ..left }, joined);
    wait_for("one client less", || (bus.info().unwrap().counters.clients < before).then_some(()));
    // Many at once share a few events, which add up.
    let start = Instant::now();
    let clients: Vec<Bus> = (0..100).map(|_| fixture.builder_for(true).connect().unwrap()).collect();
    for client in &clients {
        client.info().unwrap();
    }
    let (mut joined, mut said) = (None, 0_u128);
    let mut came = 0;
    while came < 100 {
        let Ok(TypedDelivery::Value(news, _)) = subscription.recv_timeout(patience()) else { panic!("after {came}") };
        let new = news.clients.iter().filter(|client| !client.left).count() as u64;
        if let Some(before) = joined {
            assert_eq!(news.joined, before + new);
        }
        joined = Some(news.joined);
        came += news.clients.iter().filter(|client| client.pid == process::id() && !client.left).count();
        said += 1;
    }
    println!("    100 comings in {said} events");
    // One in 20 ms, however long the clients take to come.
    let most = start.elapsed().as_millis() / 20 + 5;
    assert!(said <= most.min(100), "{said} events, where {most} are enough");
}

fn there_are_so_many_wills_and_no_more() {
    let fixture = Fixture::with(&["wills=8", "user_wills=2"]);
    let bus = fixture.connect();
    let limits = bus.info().unwrap().limits;
    assert_eq!((limits.wills, limits.user_wills), (8, 2));
    let mut clients: Vec<Child> = Vec::new();
    for expected in ["left", "left", "EDQUOT"] {
        let mut client = fixture.spawn("client", &["uid=1000".to_owned()]);
        client.expect("ready");
        client.say("will will/a");
        let said = client.line();
        assert!(said.contains(expected), "{said}");
        clients.push(client);
    }
    // One that takes the place of another is none too many.
    clients[0].say("will will/b");
    clients[0].expect("left");
    let others: Vec<Bus> = (0..6).map(|_| fixture.connect()).collect();
    others.iter().for_each(|other| other.set_will("will/a", "x").unwrap());
    match bus.set_will("will/a", "x").unwrap_err() {
        RequestError::Refused(refusal) => {
            assert!(refusal.errno == nix::errno::Errno::ENOSPC && refusal.to_string().contains("--wills"), "{refusal}");
        }
        other => panic!("not refused: {other}"),
    }
    others[5].clear_will().unwrap();
    bus.set_will("will/a", "x").unwrap();
}

fn another_broker_gets_the_will() {
    let mut fixture = Fixture::new();
    let (mut child, pid) = leave(&fixture, "will/a", 1);
    for kill in [true, false] {
        let broker = fixture.broker().expect("a broker");
        match kill {
            true => broker.kill(),
            false => assert!(broker.end().success()),
        }
        fixture.start_broker();
        let bus = fixture.connect();
        wait_for("the will", || (bus.info().unwrap().counters.wills == 1).then_some(()));
    }
    let bus = fixture.connect();
    let mut subscription = bus.subscriber("will/a").start(Start::All).open().unwrap();
    child.kill();
    let seen = events(&mut subscription, 1);
    assert_eq!((seen[0].is_will(), seen[0].sender().pid), (true, pid));
    quiet(&mut subscription);
}

//! SIGTERM ends the bridge in time and well, whatever is there or not. What was published before is out by then, and the next
//! start repeats nothing.

use crate::account::{Collector, publish};
use crate::bridge::{Bridge, Setup};
use crate::host::Host;
use crate::servers::Servers;
use nlbus_tests::cases;

cases![
    what_was_published_before_the_end_is_out,
    what_was_published_before_the_end_is_in_the_stream_once,
    without_a_server_the_end_comes_in_time_and_nothing_is_lost,
    before_there_was_a_server_the_end_comes_in_time,
    without_a_broker_the_end_comes_in_time,
    a_receiver_that_ends_and_starts_repeats_nothing,
];

const EVENTS: u32 = 5000;
const TOPICS: &[&str] = &["t/1", "t/2/x"];
const LIVE: &str = "[[out]]\ntopics = [\"t/#\"]\n";
const DURABLE: &str = "[[out]]\ntopics = [\"t/#\"]\ndurable = \"T\"\n";
const IN: &str = "[[in]]\nsubjects = [\"t.>\"]\ndurable = \"T\"\n[streams.T]\nsubjects = [\"t.>\"]\n";

fn what_was_published_before_the_end_is_out() {
    let servers = Servers::one();
    let client = servers.client();
    let heard = client.listen(">");
    let host = Host::new("a", 1);
    let mut bridge = Bridge::start(&host, &servers, LIVE);
    publish(&host.connect(), 1, TOPICS, 0..EVENTS, || false);
    bridge.terminate();
    heard.wait_long(EVENTS as usize);
    assert_eq!(heard.count(), EVENTS as usize);
}

fn what_was_published_before_the_end_is_in_the_stream_once() {
    let servers = Servers::one();
    servers.wait_for_jetstream();
    let client = servers.client();
    let (a, b) = (Host::new("a", 1), Host::new("b", 2));
    let _into = Bridge::start(&b, &servers, IN);
    let there = Collector::start(&b);
    let mut out = Bridge::start(&a, &servers, DURABLE);
    let bus = a.connect();
    for round in 1..=3 {
        publish(&bus, 1, TOPICS, (round - 1) * EVENTS..round * EVENTS, || false);
        out.terminate();
        assert_eq!(client.count_stored("T"), u64::from(round * EVENTS));
        out.start_again(&a);
    }
    publish(&bus, 1, TOPICS, 3 * EVENTS..3 * EVENTS + 10, || false);
    let all = u64::from(3 * EVENTS + 10);
    there.wait(all);
    let seen = there.seen();
    assert_eq!((seen.count(), seen.lost(), seen.repeated(), seen.late()), (all, 0, 0, 0), "{seen:?}");
    assert_eq!(client.count_stored("T"), all);
    // A stop isn't a crash: nothing was even tried again.
    assert_eq!(out.metric(&a, "nlbus_nats_out_duplicates_total"), 0);
}

fn without_a_server_the_end_comes_in_time_and_nothing_is_lost() {
    for is_killed in [true, false] {
        nlbus_tests::in_new_namespace(|| {
            let mut servers = Servers::one();
            servers.wait_for_jetstream();
            let (a, b) = (Host::new("a", 1), Host::new("b", 2));
            let mut into = Bridge::start(&b, &servers, IN);
            let there = Collector::start(&b);
            let mut out = Bridge::start(&a, &servers, DURABLE);
            let bus = a.connect();
            publish(&bus, 1, TOPICS, 0..100, || false);
            there.wait(100);
            if is_killed {
                servers.kill(0);
            } else {
                servers.stop(0);
            }
            publish(&bus, 1, TOPICS, 100..EVENTS, || false);
            out.terminate();
            into.terminate();
            if is_killed {
                servers.start(0);
            } else {
                servers.go_on(0);
            }
            out.start_again(&a);
            into.start_again(&b);
            there.wait(u64::from(EVENTS));
            let seen = there.seen();
            let all = u64::from(EVENTS);
            assert_eq!((seen.count(), seen.lost(), seen.repeated(), seen.late()), (all, 0, 0, 0), "{seen:?}");
        });
    }
}

fn before_there_was_a_server_the_end_comes_in_time() {
    let mut servers = Servers::one();
    servers.kill(0);
    let host = Host::new("a", 1);
    for rules in [LIVE, DURABLE, IN] {
        let mut bridge = Bridge::start_with(&host, &servers, rules, &Setup::default());
        bridge.program().hear("waiting for a server");
        bridge.terminate();
    }
    // There is a server, but not the stream.
    servers.start(0);
    servers.wait_for_jetstream();
    let rules = "[[in]]\nsubjects = [\"t.>\"]\ndurable = \"NONE\"\n";
    let mut bridge = Bridge::start_with(&host, &servers, rules, &Setup::default());
    bridge.program().hear("waiting for the stream NONE");
    bridge.terminate();
}

fn without_a_broker_the_end_comes_in_time() {
    let servers = Servers::one();
    servers.wait_for_jetstream();
    let client = servers.client();
    let mut host = Host::new("a", 1);
    let rules = format!("{DURABLE}{IN}");
    let mut bridge = Bridge::start(&host, &servers, &rules);
    host.kill_broker();
    client.publish("t.x", "waits for a broker");
    bridge.terminate();
    host.start_broker();
    let bus = host.connect();
    let mut arriving = bus.subscribe("t/#").expect("to subscribe");
    bridge.start_again(&host);
    let came = arriving.recv_timeout(nlbus_tests::patience()).expect("an event").into_event().expect("an event");
    assert_eq!(came.payload(), b"waits for a broker");
}

fn a_receiver_that_ends_and_starts_repeats_nothing() {
    let servers = Servers::one();
    servers.wait_for_jetstream();
    let (a, b) = (Host::new("a", 1), Host::new("b", 2));
    let mut into = Bridge::start(&b, &servers, IN);
    let _out = Bridge::start(&a, &servers, DURABLE);
    let there = Collector::start(&b);
    let bus = a.connect();
    for round in 0..6 {
        publish(&bus, 1, TOPICS, round * EVENTS..(round + 1) * EVENTS, || false);
        // In the middle of it.
        there.wait(u64::from(round * EVENTS + EVENTS / 2));
        if round % 2 == 0 {
            into.terminate();
        } else {
            into.kill();
        }
        into.start_again(&b);
    }
    let all = u64::from(6 * EVENTS);
    there.wait(all);
    let seen = there.seen();
    assert_eq!((seen.count(), seen.lost(), seen.repeated(), seen.late()), (all, 0, 0, 0), "{seen:?}");
}

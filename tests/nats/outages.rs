//! Servers, brokers and networks that go and come back: the local bus never waits for them; what a stream carries isn't lost; and
//! what is lost elsewhere is reported on the other side, to the event.

use crate::account::{Collector, publish};
use crate::bridge::Bridge;
use crate::host::Host;
use crate::servers::Servers;
use nlbus::Bus;
use nlbus_tests::{cases, wait_for};
use std::thread;
use std::time::Duration;

cases![
    a_server_that_stands_still_delays_nobody_on_the_bus,
    a_server_that_is_gone_delays_nobody_on_the_bus,
    what_history_has_no_more_is_lost_to_the_event,
    a_pulled_cable_loses_nothing,
    a_server_that_crashes_loses_nothing,
    a_senders_broker_that_restarts_loses_nothing_published_since,
    a_receivers_broker_that_restarts_loses_nothing_published_since,
    a_receivers_broker_that_stands_still_for_long_repeats_nothing,
    a_bridge_that_starts_before_its_server_misses_nothing,
];

/// Both hosts send and take the same topics, so what is reported as lost on one must not go back as its own loss.
const LIVE: &str = "[[out]]\ntopics = [\"t/#\"]\n[[in]]\nsubjects = [\"t.>\"]\n";
const DURABLE: &str = "[[out]]\ntopics = [\"t/#\"]\ndurable = \"T\"\n[[in]]\nsubjects = [\"t.>\"]\ndurable = \"T\"\n";

const TOPICS: &[&str] = &["t/1", "t/2/x"];

/// History of some hundred events.
const SMALL: u64 = 32 << 10;

/// Topics with this much history.
fn topics(bus: &Bus, history: u64) {
    for topic in TOPICS {
        bus.topic_options(topic).history(history).create().expect("a topic");
    }
}

/// A server, two hosts, and a bridge on each.
struct Pair {
    servers: Servers,
    a: Host,
    b: Host,
    out: Bridge,
    into: Bridge,
    here: Collector,
    there: Collector,
    bus: Bus,
    next: u32,
}

impl Pair {
    fn new(servers: Servers, rules: &str, history: u64) -> Pair {
        servers.wait_for_jetstream();
        let (a, b) = (Host::new("a", 1), Host::new("b", 2));
        let bus = a.connect();
        topics(&bus, history);
        let (out, into) = (Bridge::start(&a, &servers, rules), Bridge::start(&b, &servers, rules));
        let (here, there) = (Collector::start(&a), Collector::start(&b));
        Pair { servers, a, b, out, into, here, there, bus, next: 0 }
    }

    /// Publishes as fast as the local subscriber takes it.
    fn publish(&mut self, events: u32) {
        let before = self.here.count();
        // What the publisher is ahead of the subscriber.
        let numbers = self.next..self.next + events;
        self.next += events;
        for start in numbers.clone().step_by(100) {
            publish(&self.bus, 1, TOPICS, start..numbers.end.min(start + 100), || false);
            self.here.wait(before + u64::from(start - numbers.start));
        }
        self.here.wait(before + u64::from(events));
    }

    /// Waits until the other side has all, or knows that it is lost.
    fn wait(&self) {
        self.there.wait(u64::from(self.next));
    }

    /// Asserts that all that was published was delivered once or is reported as lost; returns how many are lost.
    fn check(&self) -> u64 {
        let (here, there) = (self.here.seen(), self.there.seen());
        let published = u64::from(self.next);
        assert_eq!((here.count(), here.lost(), here.repeated()), (published, 0, 0), "here: {here:?}");
        assert_eq!((there.repeated(), there.late()), (0, 0), "there: {there:?}");
        assert_eq!(there.count() + there.lost(), published, "there: {there:?}");
        there.lost()
    }
}

fn a_server_that_stands_still_delays_nobody_on_the_bus() {
    let mut pair = Pair::new(Servers::one(), LIVE, SMALL);
    pair.publish(200);
    pair.wait();
    assert_eq!(pair.check(), 0);
    pair.servers.stop(0);
    // The local subscriber has all of it, and waits for nobody.
    pair.publish(40_000);
    pair.servers.go_on(0);
    pair.publish(2);
    pair.wait();
    let lost = pair.check();
    assert!(lost > 0, "more was kept than history has room for");
    pair.into.wait_for_metric(&pair.b, "nlbus_nats_in_lost_events_total", lost);
}

fn a_server_that_is_gone_delays_nobody_on_the_bus() {
    let mut pair = Pair::new(Servers::one(), LIVE, SMALL);
    pair.publish(200);
    pair.wait();
    pair.servers.kill(0);
    pair.publish(20_000);
    pair.servers.start(0);
    for (host, bridge) in [(&pair.a, &pair.out), (&pair.b, &pair.into)] {
        bridge.wait_for_metric(host, "nlbus_nats_connected", 1);
    }
    // By these the last loss is noticed.
    pair.publish(2);
    pair.wait();
    let lost = pair.check();
    assert!(lost > 0, "more was kept than history has room for");
    pair.into.wait_for_metric(&pair.b, "nlbus_nats_in_lost_events_total", lost);
}

fn what_history_has_no_more_is_lost_to_the_event() {
    let mut pair = Pair::new(Servers::one(), DURABLE, SMALL);
    pair.publish(200);
    pair.wait();
    pair.out.terminate();
    pair.publish(20_000);
    let kept: u64 =
        TOPICS.iter().map(|topic| pair.bus.topic(topic).unwrap().expect("a topic")).map(|t| t.head + 1 - t.first).sum();
    pair.out.start_again(&pair.a);
    pair.wait();
    let lost = pair.check();
    assert_eq!(lost, 20_000 - kept, "of 20000 events {kept} were kept");
    pair.out.wait_for_metric(&pair.a, "nlbus_nats_out_lost_events_total", lost);
    pair.into.wait_for_metric(&pair.b, "nlbus_nats_in_lost_events_total", lost);
    pair.into.wait_for_metric(&pair.b, "nlbus_nats_in_lost_events_total", lost);
    // It ends there.
    pair.publish(200);
    pair.wait();
    assert_eq!(pair.check(), lost);
    // The same where it is killed.
    pair.out.kill();
    pair.publish(20_000);
    pair.out.start_again(&pair.a);
    pair.wait();
    assert!(pair.check() > lost);
}

fn a_pulled_cable_loses_nothing() {
    // So that the servers give up a connection in a test's time.
    let mut pair = Pair::new(Servers::with(1, "ping_interval: \"1s\"\nping_max: 2"), DURABLE, 16 << 20);
    for side in 0..2 {
        for seconds in [1, 6] {
            pair.publish(500);
            let host = [&pair.a, &pair.b][side];
            host.cable(false);
            pair.publish(2000);
            // As long as the cable is out: a connection that survives it, and one that doesn't.
            thread::sleep(Duration::from_secs(seconds));
            [&pair.a, &pair.b][side].cable(true);
            pair.publish(500);
            pair.wait();
        }
    }
    assert_eq!(pair.check(), 0);
}

fn a_server_that_crashes_loses_nothing() {
    let mut pair = Pair::new(Servers::one(), DURABLE, 16 << 20);
    for _ in 0..3 {
        pair.publish(3000);
        pair.servers.kill(0);
        pair.publish(3000);
        pair.servers.start(0);
        pair.publish(3000);
        pair.wait();
    }
    assert_eq!(pair.check(), 0);
}

fn a_senders_broker_that_restarts_loses_nothing_published_since() {
    for rules in [LIVE, DURABLE] {
        nlbus_tests::in_new_namespace(|| {
            let mut pair = Pair::new(Servers::one(), rules, 16 << 20);
            pair.publish(500);
            pair.wait();
            for publisher in 2..5 {
                pair.a.kill_broker();
                pair.a.start_broker();
                publish(&pair.a.connect(), publisher, TOPICS, 0..1000, || false);
                pair.there.wait(500 + u64::from(publisher - 1) * 1000);
            }
            let seen = pair.there.seen();
            assert_eq!((seen.count(), seen.lost(), seen.repeated(), seen.late()), (3500, 0, 0, 0), "{seen:?}");
        });
    }
}

fn a_receivers_broker_that_restarts_loses_nothing_published_since() {
    for rules in [LIVE, DURABLE] {
        nlbus_tests::in_new_namespace(|| {
            let mut pair = Pair::new(Servers::one(), rules, 16 << 20);
            pair.publish(500);
            pair.wait();
            pair.b.kill_broker();
            // What comes now waits.
            pair.publish(500);
            pair.b.start_broker();
            let there = Collector::start(&pair.b);
            publish(&pair.bus, 2, TOPICS, 0..1000, || false);
            wait_for("what was published since", || {
                let seen = there.seen();
                let since = seen.topics.values().flatten().filter(|event| *event >> 32 == 2).count();
                (since == 1000).then_some(())
            });
            let seen = there.seen();
            assert_eq!((seen.lost(), seen.repeated(), seen.late()), (0, 0, 0), "{seen:?}");
        });
    }
}

/// Its ack doesn't come in time, so it isn't known whether what came in is published: it is found out.
fn a_receivers_broker_that_stands_still_for_long_repeats_nothing() {
    // Longer than an ack may take.
    const LONG: Duration = Duration::from_secs(11);
    for rules in [LIVE, DURABLE] {
        nlbus_tests::in_new_namespace(|| {
            let mut pair = Pair::new(Servers::one(), rules, 16 << 20);
            pair.publish(500);
            pair.wait();
            pair.b.pause_broker(true);
            pair.publish(500);
            thread::sleep(LONG);
            pair.b.pause_broker(false);
            pair.publish(500);
            pair.wait();
            let seen = pair.there.seen();
            assert_eq!((seen.lost(), seen.repeated(), seen.late()), (0, 0, 0), "{seen:?}");
        });
    }
}

fn a_bridge_that_starts_before_its_server_misses_nothing() {
    let mut servers = Servers::one();
    servers.kill(0);
    let (a, b) = (Host::new("a", 1), Host::new("b", 2));
    let setup = crate::bridge::Setup::default();
    let mut into = Bridge::start_with(&b, &servers, DURABLE, &setup);
    let mut out = Bridge::start_with(&a, &servers, DURABLE, &setup);
    into.program().hear("waiting for a server");
    out.program().hear("waiting for a server");
    let there = Collector::start(&b);
    publish(&a.connect(), 1, TOPICS, 0..1000, || false);
    servers.start(0);
    into.wait_ready();
    out.wait_ready();
    publish(&a.connect(), 1, TOPICS, 1000..2000, || false);
    let newest =
        || there.seen().topics.values().filter_map(|events| events.last().copied()).max() == Some((1 << 32) + 1999);
    wait_for("the last event", || newest().then_some(()));
    let seen = there.seen();
    assert_eq!((seen.repeated(), seen.late(), seen.lost()), (0, 0, 0), "{seen:?}");
}

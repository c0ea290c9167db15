//! Promise 10: a broker that restarts has a new epoch; subscribers reconnect by themselves, say so in line, and never
//! mistake new numbers for old ones. The module can't be unloaded under its clients, so for it this
//! is about a user broker that gives way to it: in `tests/module`.

use nix::sys::signal::Signal;
use nlbus::{Bus, Delivery, PublishReason, RequestError, SubscribeReason, Subscription};
use nlbus_tests::{Fixture, RawClient, cases, clean_restarts, collect, events, patience, quiet, restarts, wait_for};
use std::thread;
use std::time::{Duration, Instant};

cases![
    a_killed_broker_that_comes_back_is_reported_and_followed user_only,
    a_broker_that_ends_well_is_no_different user_only,
    who_subscribes_after_a_restart_is_told_of_none user_only,
    while_the_broker_is_gone_publishing_says_so user_only,
    a_stopped_broker_is_no_restart user_only,
    an_ack_that_does_not_come_is_unknown user_only,
    a_publish_waits_for_the_next_broker_if_it_is_to user_only,
    a_broker_killed_twenty_times_under_traffic_confuses_nobody user_only,
    twenty_brokers_that_end_well_take_nothing_with_them user_only,
    what_a_broker_took_with_it_is_not_flushed user_only,
    what_waited_for_the_next_broker_is_flushed_by_it user_only,
    requests_and_subscriptions_find_the_next_broker user_only,
    while_the_broker_is_gone_so_say_requests_and_subscriptions user_only,
    one_that_is_silent_in_its_place_holds_up_nobody user_only,
];

/// Publishes until a broker takes it, and returns its number: the connection moves to the new one in its own time, and an
/// ack that gets lost in that makes it a second event.
fn publish_somehow(bus: &Bus, topic: &str) -> u64 {
    wait_for("a broker that takes an event", || bus.publish_acked(topic, "x").ok())
}

/// What was delivered, up to and with the event after the restart.
fn across_the_restart(subscription: &mut Subscription, epoch: u64) {
    let seen = collect(subscription, |seen| {
        seen.iter().any(|delivery| delivery.event().is_some_and(|e| e.payload() == b"new"))
    });
    let at = seen.iter().position(|delivery| matches!(delivery, Delivery::Restarted(_))).expect("a restart in line");
    let Delivery::Restarted(restarted) = seen[at] else { unreachable!() };
    assert_eq!(restarted.epoch, epoch);
    assert!(seen[..at].iter().all(|d| d.event().is_some_and(|event| event.payload() == b"old")), "{seen:?}");
    let after: Vec<_> = seen[at + 1..].iter().map(|d| d.event().map(|e| (e.seq(), e.payload().to_vec()))).collect();
    assert_eq!(after, [Some((1, b"new".to_vec()))], "{seen:?}");
}

fn restart(kill: bool) {
    let mut fixture = Fixture::new();
    let bus = fixture.connect();
    let other = fixture.connect();
    let old = bus.info().unwrap().epoch;
    let mut subscriptions = ["restart/topic", "restart/+", "#"].map(|filter| bus.subscribe(filter).unwrap());
    let mut waiting = other.subscribe("restart/later").unwrap();
    for seq in 1..=3 {
        assert_eq!(other.publish_acked("restart/topic", "old").unwrap(), seq);
    }
    let broker = fixture.broker().expect("a broker");
    match kill {
        true => broker.kill(),
        false => assert!(broker.end().success()),
    }
    fixture.start_broker();
    let fresh = fixture.connect();
    let epoch = fresh.info().unwrap().epoch;
    assert_ne!(epoch, old);
    // Before the old connections have found the broker, or after.
    assert_eq!(fresh.publish_acked("restart/topic", "new").unwrap(), 1);
    for subscription in &mut subscriptions {
        across_the_restart(subscription, epoch);
        quiet(subscription);
    }
    // A filter that waits goes on waiting.
    let last = publish_somehow(&other, "restart/later");
    let seen = collect(&mut waiting, |seen| seen.len() == 2);
    assert!(matches!(&seen[0], Delivery::Restarted(restarted) if restarted.epoch == epoch), "{seen:?}");
    assert_eq!(seen[1].event().expect("an event").seq(), 1);
    // And so do new subscriptions of old connections.
    let mut late = bus.subscribe("restart/later").unwrap();
    assert_eq!(fresh.publish_acked("restart/later", "x").unwrap(), last + 1);
    assert_eq!(events(&mut late, 1)[0].seq(), last + 1);
    assert_eq!(bus.info().unwrap().epoch, epoch);
}

fn a_killed_broker_that_comes_back_is_reported_and_followed() {
    restart(true);
}

fn a_broker_that_ends_well_is_no_different() {
    restart(false);
}

/// A connection without subscriptions doesn't watch its broker. Its first one is the present broker's.
fn who_subscribes_after_a_restart_is_told_of_none() {
    let mut fixture = Fixture::new();
    let bus = fixture.connect();
    bus.publish_acked("x", "old").unwrap();
    fixture.broker().expect("a broker").kill();
    fixture.start_broker();
    let fresh = fixture.connect();
    for seq in 1..=3 {
        assert_eq!(fresh.publish_acked("x", "before").unwrap(), seq);
    }
    let mut subscription = bus.subscribe("x").unwrap();
    assert_eq!(fresh.publish_acked("x", "after").unwrap(), 4);
    let seen = collect(&mut subscription, |seen| seen.len() == 1);
    assert_eq!(seen[0].event().map(|event| event.seq()), Some(4), "{seen:?}");
    quiet(&mut subscription);
}

fn while_the_broker_is_gone_publishing_says_so() {
    let mut fixture = Fixture::new();
    let bus = fixture.connect();
    bus.publish_acked("x", "1").unwrap();
    fixture.broker().expect("a broker").kill();
    for error in
        [bus.publish("x", "2").unwrap_err(), bus.publish_acked("x", "2").unwrap_err(), bus.flush().unwrap_err()]
    {
        assert!(matches!(error.reason(), PublishReason::NoBroker), "{error:?}");
    }
    fixture.start_broker();
    publish_somehow(&bus, "x");
}

/// Only an epoch says restarted, never a late heartbeat.
fn a_stopped_broker_is_no_restart() {
    let mut fixture = Fixture::new();
    let bus = fixture.connect();
    let mut subscription = bus.subscribe("x").unwrap();
    bus.publish_acked("x", "1").unwrap();
    fixture.broker().expect("a broker").signal(Signal::SIGSTOP);
    bus.publish("x", "2").unwrap();
    // Longer than a client waits before it asks whether the broker is there (3 s), and than such a question takes.
    let stopped = Instant::now();
    while stopped.elapsed() < Duration::from_secs(5) {
        assert!(stopped.elapsed() < patience());
        let _ = subscription
            .recv_timeout(Duration::from_millis(500))
            .map(|seen| assert!(seen.event().is_some(), "{seen:?}"));
    }
    fixture.broker().expect("a broker").signal(Signal::SIGCONT);
    assert_eq!(bus.publish_acked("x", "3").unwrap(), 3);
    let last = collect(&mut subscription, |seen| seen.last().and_then(Delivery::event).is_some_and(|e| e.seq() == 3));
    assert!(last.iter().all(|delivery| delivery.event().is_some()), "{last:?}");
    quiet(&mut subscription);
}

fn a_publish_waits_for_the_next_broker_if_it_is_to() {
    let mut fixture = Fixture::new();
    let bus = fixture.builder().outage(patience()).connect().unwrap();
    let hasty = fixture.builder().outage(Duration::from_millis(100)).connect().unwrap();
    bus.publish_acked("x", "old").unwrap();
    fixture.broker().expect("a broker").kill();
    let start = Instant::now();
    let error = hasty.publish_acked("x", "too soon").unwrap_err();
    assert!(matches!(error.reason(), PublishReason::NoBroker), "{error:?}");
    assert!(start.elapsed() >= Duration::from_millis(100));
    let mut batch = bus.batch();
    batch.push("x", "1").unwrap();
    batch.push("x", "2").unwrap();
    let published = thread::scope(|scope| {
        let waiting = scope.spawn(|| batch.send_acked().unwrap());
        fixture.start_broker();
        waiting.join().unwrap()
    });
    assert_eq!(published, Some(2));
    assert_eq!(bus.publish_acked("x", "3").unwrap(), 3);
}

/// In each round everybody has to be told before the next one begins.
fn a_broker_killed_twenty_times_under_traffic_confuses_nobody() {
    let mut fixture = Fixture::new();
    let place = *fixture;
    restarts(&place, 20, || {
        fixture.broker().expect("a broker").kill();
        fixture.start_broker();
    });
}

fn twenty_brokers_that_end_well_take_nothing_with_them() {
    let mut fixture = Fixture::new();
    let place = *fixture;
    clean_restarts(&place, 20, || {
        assert!(fixture.broker().expect("a broker").end().success());
        fixture.start_broker();
    });
}

fn an_ack_that_does_not_come_is_unknown() {
    let mut fixture = Fixture::new();
    let bus = fixture.builder().patience(Duration::from_millis(200)).connect().unwrap();
    fixture.broker().expect("a broker").signal(Signal::SIGSTOP);
    let error = bus.publish_acked("x", "1").unwrap_err();
    assert!(matches!(error.reason(), PublishReason::Unknown), "{error:?}");
    fixture.broker().expect("a broker").signal(Signal::SIGCONT);
    // It was published after all, as the error said it may have been.
    wait_for("the event to be there", || fixture.connect().topic("x").unwrap().filter(|topic| topic.head == 1));
}

/// Who publishes without acks and flushes is not told that all is well when another broker answers.
fn what_a_broker_took_with_it_is_not_flushed() {
    for subscribed in [false, true] {
        let mut fixture = Fixture::new();
        let bus = fixture.connect();
        let mut subscription = subscribed.then(|| bus.subscribe("restart/x").unwrap());
        bus.publish("restart/x", "first").unwrap();
        bus.flush().unwrap();
        fixture.broker().expect("a broker").signal(Signal::SIGSTOP);
        let mut batch = bus.batch();
        batch.push("restart/x", "lost").unwrap();
        batch.send().unwrap();
        fixture.broker().expect("a broker").kill();
        fixture.start_broker();
        if let Some(subscription) = &mut subscription {
            // The connection has found the new one, or it hasn't.
            collect(subscription, |seen| matches!(seen.last(), Some(Delivery::Restarted(_))));
        }
        let error = bus.flush().unwrap_err();
        assert!(matches!(error.reason(), PublishReason::Unknown), "subscribed {subscribed}: {error:?}");
        // Until the connection has found the new broker, it can't say for sure where an event went.
        wait_for("a flush that succeeds", || {
            bus.publish("restart/x", "again").ok()?;
            bus.flush().ok()
        });
        bus.publish("restart/x", "the last one").unwrap();
        bus.close().unwrap();
    }
}

/// Such an event counts as sent to who took it, also where the next broker is at the port before the connection knows.
fn what_waited_for_the_next_broker_is_flushed_by_it() {
    for subscribed in [false, true] {
        let mut fixture = Fixture::new();
        let bus = fixture.builder().outage(patience()).connect().unwrap();
        let _subscription = subscribed.then(|| bus.subscribe("restart/x").unwrap());
        bus.publish_acked("restart/x", "old").unwrap();
        fixture.broker().expect("a broker").kill();
        let error = bus.flush().unwrap_err();
        assert!(matches!(error.reason(), PublishReason::NoBroker), "{error:?}");
        fixture.start_broker();
        bus.publish("restart/x", "new").unwrap();
        bus.flush().unwrap();
        assert_eq!(fixture.connect().topic("restart/x").unwrap().expect("a topic").head, 1);
    }
}

/// They wait for the search to end while it isn't known that there is none; and then, if they are to.
fn requests_and_subscriptions_find_the_next_broker() {
    for outage in [Duration::ZERO, patience()] {
        let mut fixture = Fixture::new();
        let bus = fixture.builder().outage(outage).connect().unwrap();
        bus.publish_acked("restart/x", "old").unwrap();
        fixture.broker().expect("a broker").kill();
        if outage > Duration::ZERO {
            // The connection knows that it is gone.
            assert!(matches!(bus.flush().unwrap_err().reason(), PublishReason::NoBroker));
        }
        let asking = thread::scope(|scope| {
            if outage.is_zero() {
                fixture.start_broker();
            }
            let asking = scope.spawn(|| {
                bus.publish("restart/x", "new").unwrap();
                // Without an outage this is how the connection finds out: the answer is another broker's.
                let _ = bus.flush();
                (bus.info(), bus.create_topic("restart/x"), bus.topic("restart/x"), bus.topics(), bus.subscribe("x"))
            });
            if !outage.is_zero() {
                fixture.start_broker();
            }
            asking.join().unwrap()
        });
        let (info, created, topic, topics, subscription) = asking;
        assert_eq!(info.unwrap().epoch, fixture.connect().info().unwrap().epoch);
        assert_eq!(created.unwrap().head, 1);
        assert_eq!(topic.unwrap().expect("a topic").head, 1);
        assert!(topics.unwrap().iter().any(|topic| topic.name == "restart/x"));
        subscription.unwrap();
    }
}

fn while_the_broker_is_gone_so_say_requests_and_subscriptions() {
    let mut fixture = Fixture::new();
    let bus = fixture.builder().patience(Duration::from_millis(200)).connect().unwrap();
    let waiting = fixture.builder().outage(patience()).connect().unwrap();
    fixture.broker().expect("a broker").kill();
    assert_eq!(bus.info().unwrap_err(), RequestError::NoBroker);
    assert_eq!(bus.topics().unwrap_err(), RequestError::NoBroker);
    assert_eq!(bus.topic("x").unwrap_err(), RequestError::NoBroker);
    let error = bus.subscribe("x").unwrap_err();
    assert!(matches!(error.reason(), SubscribeReason::NoBroker), "{error:?}");
    let epoch = thread::scope(|scope| {
        let asking = scope.spawn(|| waiting.info().unwrap().epoch);
        // Until it has found nobody; if it hasn't yet, it finds the new one.
        thread::sleep(Duration::from_millis(100));
        fixture.start_broker();
        asking.join().unwrap()
    });
    assert_eq!(wait_for("the new broker to be found", || bus.info().ok()).epoch, epoch);
    // As one that is stopped: there is somebody, who says nothing.
    fixture.broker().expect("a broker").kill();
    let _silent = [fixture.port, fixture.port + 1].map(|port| RawClient::bind(*fixture, port).unwrap());
    assert_eq!(bus.info().unwrap_err(), RequestError::TimedOut);
    let error = bus.subscribe("x").unwrap_err();
    assert!(matches!(error.reason(), SubscribeReason::TimedOut), "{error:?}");
}

/// The connection looks for its broker without waiting for whoever has the port.
fn one_that_is_silent_in_its_place_holds_up_nobody() {
    // Much less than it waits for an answer.
    const AT_ONCE: Duration = Duration::from_millis(500);
    let mut fixture = Fixture::new();
    let bus = fixture.connect();
    let mut subscription = bus.subscribe("restart/x").unwrap();
    fixture.broker().expect("a broker").kill();
    let error = bus.publish("restart/x", "into the void").unwrap_err();
    assert!(matches!(error.reason(), PublishReason::NoBroker), "{error:?}");
    // As a broker that is stopped.
    let silent = [fixture.port, fixture.port + 1].map(|port| RawClient::bind(*fixture, port).unwrap());
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(3) {
        let call = Instant::now();
        assert!(subscription.recv_timeout(Duration::from_millis(10)).is_err());
        bus.counters().unwrap();
        assert!(call.elapsed() < AT_ONCE, "held up for {:?}", call.elapsed());
    }
    drop(silent);
    fixture.start_broker();
    collect(&mut subscription, |seen| matches!(seen.last(), Some(Delivery::Restarted(_))));
}

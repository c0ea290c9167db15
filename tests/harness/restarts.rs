//! A broker that ends and begins again, many times, under traffic.

use crate::{Place, Tally, collect, patience, payload, wait_for};
use nlbus::{Bus, Delivery, Overflow, Subscription};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// One subscriber, in a thread of its own: what it was given, until it has the last event.
fn follow(mut subscription: Subscription, epoch: &AtomicU64, done: &AtomicBool) -> Tally {
    let mut tally = Tally::new();
    let mut deadline = Instant::now() + patience();
    loop {
        match subscription.recv_timeout(Duration::from_millis(100)) {
            Ok(delivery) => {
                tally.add(&delivery);
                match &delivery {
                    Delivery::Restarted(restarted) => epoch.store(restarted.epoch, Ordering::Relaxed),
                    Delivery::Event(event) if event.payload() == b"the last one" => return tally,
                    _ => {}
                }
                deadline = Instant::now() + patience();
            }
            Err(error) => assert!(
                Instant::now() < deadline && (!done.load(Ordering::Relaxed) || error.is_timeout()),
                "{}: {error}: {tally:?}",
                subscription.filter()
            ),
        }
    }
}

/// Has `restart` end the broker and begin another one so many times, while events flow from two publishers to four
/// subscriptions, and shows that none of them hangs, that none is given a wrong number, and that all end with the newest
/// event. `restart` returns when the new broker answers.
///
/// # Panics
/// When that isn't so.
pub fn restarts(place: &Place, times: usize, mut restart: impl FnMut()) {
    let stop = AtomicBool::new(false);
    let options = [
        ("traffic/1", Overflow::CatchUp),
        ("traffic/+", Overflow::CatchUp),
        ("#", Overflow::DropOldest),
        ("traffic/2", Overflow::Latest),
    ];
    let subscriber = place.connect();
    let subscriptions =
        options.map(|(filter, overflow)| subscriber.subscriber(filter).overflow(overflow).open().unwrap());
    let epochs = [(); 4].map(|()| AtomicU64::new(0));
    let (published, accounts) = thread::scope(|scope| {
        let publishers = ["traffic/1", "traffic/2"].map(|topic| {
            let (bus, stop) = (place.builder().outage(patience()).connect().unwrap(), &stop);
            scope.spawn(move || publish(&bus, topic, stop))
        });
        let followers: Vec<_> = subscriptions
            .into_iter()
            .zip(&epochs)
            .map(|(subscription, epoch)| {
                let stop = &stop;
                scope.spawn(move || follow(subscription, epoch, stop))
            })
            .collect();
        for _ in 0..times {
            restart();
            // Each has to notice each of them.
            let epoch = place.connect().info().unwrap().epoch;
            wait_for("all to be told of the restart", || {
                epochs.iter().all(|seen| seen.load(Ordering::Relaxed) == epoch).then_some(())
            });
        }
        stop.store(true, Ordering::Relaxed);
        let published: u64 = publishers.into_iter().map(|publisher| publisher.join().unwrap()).sum();
        // Not sooner: a connection that its caller doesn't drive would hold on to a module that is to go.
        let finale = place.builder().outage(patience()).connect().unwrap();
        for topic in ["traffic/1", "traffic/2"] {
            finale.publish_acked(topic, "the last one").unwrap();
        }
        (published, followers.into_iter().map(|follower| follower.join().unwrap()).collect::<Vec<_>>())
    });
    println!("    {times} restarts, {published} events accepted");
    for ((filter, overflow), tally) in options.iter().zip(&accounts) {
        println!("    {filter} {overflow:?}: {} delivered, {} lost", tally.delivered, tally.lost);
        assert_eq!(tally.restarts, times as u64, "{filter}");
    }
}

/// What one subscription is given, until nothing more comes of the last epoch: how much that was in each, delivered or lost.
fn account(mut subscription: Subscription, total: &AtomicU64, done: &AtomicBool) -> Vec<u64> {
    let mut epochs = vec![Tally::new()];
    let mut deadline = Instant::now() + patience();
    loop {
        match subscription.recv_timeout(Duration::from_millis(100)) {
            Ok(Delivery::Restarted(_)) => epochs.push(Tally::from_one()),
            Ok(delivery) => epochs.last_mut().expect("one").add(&delivery),
            Err(error) if error.is_timeout() && done.load(Ordering::Relaxed) => {
                return epochs.iter().map(Tally::total).collect();
            }
            Err(error) => {
                assert!(Instant::now() < deadline, "{}: {error}: {epochs:?}", subscription.filter());
                continue;
            }
        }
        total.store(seen_in(epochs.len() - 1, epochs.last().expect("one").total()), Ordering::Relaxed);
        deadline = Instant::now() + patience();
    }
}

/// How many of an epoch's events were seen, as one number: what a slow subscriber has of the epoch before isn't taken for it.
fn seen_in(epoch: usize, events: u64) -> u64 {
    ((epoch as u64) << 32) + events
}

/// Has `restart` end the broker well and begin another one so many times, each time right after events that were flushed,
/// and shows that nothing is missing: for each subscription and each epoch, delivered and lost are what was accepted.
/// `restart` returns when the new broker answers.
///
/// # Panics
/// When that isn't so.
pub fn clean_restarts(place: &Place, times: usize, mut restart: impl FnMut()) {
    /// Events of a topic in an epoch, at first and right before the end.
    const FIRST: u64 = 300;
    const LAST: u64 = 20;
    // How many of the two topics each takes.
    let options = [
        ("traffic/1", Overflow::CatchUp, 1),
        ("traffic/+", Overflow::CatchUp, 2),
        ("#", Overflow::DropOldest, 2),
        ("traffic/2", Overflow::Latest, 1),
    ];
    let subscriber = place.connect();
    let subscriptions =
        options.map(|(filter, overflow, _)| subscriber.subscriber(filter).overflow(overflow).open().unwrap());
    // A subscription tells a publisher's connection of the restart: one that doesn't know of it can't say where an event went.
    let mut publishers = ["traffic/1", "traffic/2"].map(|topic| {
        let bus = place.connect();
        let told = bus.subscribe("restart/told").unwrap();
        (bus, told, topic)
    });
    let (totals, done) = ([(); 4].map(|()| AtomicU64::new(0)), AtomicBool::new(false));
    let accounts = thread::scope(|scope| {
        let accounts: Vec<_> = subscriptions
            .into_iter()
            .zip(&totals)
            .map(|(subscription, total)| {
                let done = &done;
                scope.spawn(move || account(subscription, total, done))
            })
            .collect();
        let has_all = |epoch: usize, each: u64| {
            let all = totals.iter().zip(options);
            let missing =
                all.filter(|(total, (.., topics))| total.load(Ordering::Relaxed) != seen_in(epoch, topics * each));
            (missing.count() == 0).then_some(())
        };
        let publish_all = |numbers: std::ops::RangeInclusive<u64>, publishers: &mut [(Bus, Subscription, &str)]| {
            thread::scope(|scope| {
                for (bus, _, topic) in publishers {
                    let numbers = numbers.clone();
                    scope.spawn(move || {
                        numbers.for_each(|number| bus.publish(topic, &payload(1, number, 64)).unwrap());
                        bus.flush().unwrap();
                    });
                }
            });
        };
        for epoch in 0..=times {
            publish_all(1..=FIRST, &mut publishers);
            wait_for("all of an epoch's first events", || has_all(epoch, FIRST));
            publish_all(FIRST + 1..=FIRST + LAST, &mut publishers);
            if epoch < times {
                restart();
                for (_, told, _) in &mut publishers {
                    collect(told, |seen| matches!(seen.last(), Some(Delivery::Restarted(_))));
                }
            }
        }
        wait_for("the last epoch's last events", || has_all(times, FIRST + LAST));
        done.store(true, Ordering::Relaxed);
        accounts.into_iter().map(|account| account.join().unwrap()).collect::<Vec<_>>()
    });
    for ((filter, overflow, topics), account) in options.iter().zip(accounts) {
        assert_eq!(account, vec![topics * (FIRST + LAST); times + 1], "{filter} {overflow:?}");
    }
}

/// Publishes without a pause but for the broker's absence, and returns how many events a broker took.
fn publish(bus: &Bus, topic: &str, stop: &AtomicBool) -> u64 {
    let mut accepted = 0;
    while !stop.load(Ordering::Relaxed) {
        // One in 50 with an ack: whether it came is unknown where the broker ended meanwhile.
        let payload = payload(1, accepted + 1, 64);
        let published = match accepted % 50 {
            0 => bus.publish_acked(topic, &payload).map(drop),
            _ => bus.publish(topic, &payload),
        };
        accepted += u64::from(published.is_ok());
        if accepted.is_multiple_of(100) {
            thread::sleep(Duration::from_millis(1));
        }
    }
    accepted
}

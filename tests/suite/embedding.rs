//! What an application that embeds a connection relies on: event loops and executors are told of what arrives, and threads
//! share a connection.

use futures_core::Stream;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nlbus::{Bus, Delivery, Subscription, TryRecvError};
use nlbus_tests::{Fixture, Tally, cases, events, patience, payload};
use std::cell::RefCell;
use std::os::fd::AsFd;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

cases![
    an_event_loop_is_told_of_each_arrival,
    an_edge_triggered_loop_is_told_of_all,
    a_flood_for_others_hides_nothing_from_an_edge_triggered_loop user_only,
    a_loop_that_only_waits_notices_a_restart user_only,
    one_loop_serves_many_subscriptions,
    a_task_is_woken,
    a_task_sees_the_end,
    threads_share_a_connection,
    a_thread_publishes_to_its_very_end,
    nobody_sleeps_on_what_another_thread_took_for_him user_only alone,
];

/// Waits at a descriptor. Whether it is readable; without `wait`, right now.
fn readable(fd: impl AsFd, wait: bool) -> bool {
    let timeout = if wait { PollTimeout::try_from(patience()).expect("a timeout") } else { PollTimeout::ZERO };
    poll(&mut [PollFd::new(fd.as_fd(), PollFlags::POLLIN)], timeout).expect("to poll") == 1
}

/// Takes what is there.
fn drain(subscription: &mut Subscription, tally: &mut Tally) -> Result<(), TryRecvError> {
    loop {
        match subscription.try_recv() {
            Ok(delivery) => tally.add(&delivery),
            Err(TryRecvError::Empty) => return Ok(()),
            Err(end) => return Err(end),
        }
    }
}

fn an_event_loop_is_told_of_each_arrival() {
    let fixture = Fixture::quiet();
    let (bus, publisher) = (fixture.connect(), fixture.connect());
    let mut subscription = bus.subscribe("loop/#").unwrap();
    let mut tally = Tally::from_one();
    publisher.publish_acked("loop/a", "before the descriptor was asked for").unwrap();
    for seq in 2..=50 {
        while tally.total() < seq - 1 {
            assert!(readable(subscription.fd().unwrap(), true), "not told of {seq}: {tally:?}");
            drain(&mut subscription, &mut tally).unwrap();
        }
        publisher.publish_acked("loop/a", &payload(1, seq, 64)).unwrap();
    }
    while tally.total() < 50 {
        assert!(readable(subscription.fd().unwrap(), true));
        drain(&mut subscription, &mut tally).unwrap();
    }
    // And not without reason: heartbeats and timers may be one.
    while readable(subscription.fd().unwrap(), false) {
        drain(&mut subscription, &mut tally).unwrap();
    }
    assert_eq!((tally.delivered, tally.lost), (50, 0));
    bus.close().unwrap();
    while drain(&mut subscription, &mut tally).is_ok() {
        assert!(readable(subscription.fd().unwrap(), true), "not told of the end");
    }
    assert!(readable(subscription.fd().unwrap(), false), "who comes late is told of the end, too");
}

/// Such a loop hears of changes alone: who isn't told twice may not be left with anything.
fn an_edge_triggered_loop_is_told_of_all() {
    // No more than either broker keeps, since most of it comes out of history.
    const COUNT: u64 = 1000;
    let fixture = Fixture::quiet();
    let bus = fixture.connect();
    // A small channel, so that it has to be refilled from history as well.
    let mut subscription = bus.subscriber("loop/#").capacity(100).open().unwrap();
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap();
    epoll.add(subscription.fd().unwrap(), EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, 0)).unwrap();
    let mut publisher =
        fixture.spawn("publisher", &["topic=loop/a".to_owned(), format!("count={COUNT}"), "size=64".to_owned()]);
    publisher.expect("ready");
    publisher.say("go");
    let mut tally = Tally::from_one();
    let timeout = EpollTimeout::try_from(patience()).unwrap();
    while tally.total() < COUNT {
        let ready = epoll.wait(&mut [EpollEvent::empty()], timeout).unwrap();
        assert_eq!(ready, 1, "not told of the rest: {tally:?}");
        drain(&mut subscription, &mut tally).unwrap();
    }
    assert_eq!(tally.lost, 0, "{tally:?}");
    publisher.end_well();
}

fn a_flood_for_others_hides_nothing_from_an_edge_triggered_loop() {
    // More datagrams than a look takes.
    const FLOOD: u64 = 3000;
    // Without heartbeats: each would be a change.
    let fixture = Fixture::quiet();
    let (bus, publisher) = (fixture.connect(), fixture.connect());
    // So that their groups are joined from the beginning.
    for topic in ["flood/last", "flood/other"] {
        publisher.create_topic(topic).unwrap();
    }
    let mut subscription = bus.subscribe("flood/last").unwrap();
    let _others = bus.subscribe("flood/+").unwrap();
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap();
    epoll.add(subscription.fd().unwrap(), EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, 0)).unwrap();
    for seq in 1..=FLOOD {
        assert_eq!(publisher.publish_acked("flood/other", &payload(1, seq, 64)).unwrap(), seq);
    }
    publisher.publish_acked("flood/last", &payload(1, FLOOD + 1, 64)).unwrap();
    let mut tally = Tally::from_one();
    while tally.total() == 0 {
        let ready = epoll.wait(&mut [EpollEvent::empty()], EpollTimeout::try_from(patience()).unwrap()).unwrap();
        assert_eq!(ready, 1, "not told of the event behind the flood");
        drain(&mut subscription, &mut tally).unwrap();
    }
}

/// Nothing comes from a broker that is gone: what tells is the time that passes.
fn a_loop_that_only_waits_notices_a_restart() {
    let mut fixture = Fixture::quiet();
    let bus = fixture.connect();
    let mut subscription = bus.subscribe("restart/x").unwrap();
    fixture.broker().expect("a broker").kill();
    fixture.start_broker();
    loop {
        assert!(readable(subscription.fd().unwrap(), true), "not told of the restart");
        match subscription.try_recv() {
            Ok(Delivery::Restarted(_)) => return,
            Err(TryRecvError::Empty) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// On a connection that the caller drives, what one subscription takes fills the others.
fn one_loop_serves_many_subscriptions() {
    const COUNT: u64 = 300;
    let fixture = Fixture::quiet();
    let (bus, publisher) = (fixture.connect(), fixture.connect());
    let filters = ["many/a", "many/b", "many/+", "#"];
    let mut subscriptions = filters.map(|filter| (bus.subscribe(filter).unwrap(), Tally::from_one()));
    let publisher = thread::spawn(move || {
        for number in 1..=COUNT {
            publisher.publish("many/a", &payload(1, number, 64)).unwrap();
            publisher.publish_acked("many/b", &payload(2, number, 64)).unwrap();
        }
    });
    let enough = [COUNT, COUNT, 2 * COUNT, 2 * COUNT];
    while subscriptions.iter().zip(enough).any(|((_, tally), enough)| tally.total() < enough) {
        let mut fds: Vec<PollFd<'_>> = Vec::new();
        for (subscription, _) in &subscriptions {
            fds.push(PollFd::new(subscription.fd().unwrap(), PollFlags::POLLIN));
        }
        let ready = poll(&mut fds, PollTimeout::try_from(patience()).unwrap()).unwrap();
        assert!(ready > 0, "not told of the rest: {subscriptions:?}");
        for (subscription, tally) in &mut subscriptions {
            drain(subscription, tally).unwrap();
        }
        // What the last one took may be for the first.
        for (subscription, tally) in &mut subscriptions {
            drain(subscription, tally).unwrap();
        }
    }
    publisher.join().unwrap();
    assert!(subscriptions.iter().all(|(_, tally)| tally.lost == 0), "{subscriptions:?}");
}

/// The smallest executor: a thread that sleeps until its task is woken.
struct Unpark {
    thread: Thread,
    woken: AtomicBool,
}

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

/// The stream's next item.
fn next<S: Stream + Unpin>(stream: &mut S) -> Option<S::Item> {
    let unpark = Arc::new(Unpark { thread: thread::current(), woken: AtomicBool::new(false) });
    let waker = Waker::from(Arc::clone(&unpark));
    let mut context = Context::from_waker(&waker);
    let mut stream = pin!(stream);
    loop {
        match stream.as_mut().poll_next(&mut context) {
            Poll::Ready(item) => return item,
            Poll::Pending => {
                let deadline = Instant::now() + patience();
                while !unpark.woken.swap(false, Ordering::AcqRel) {
                    assert!(Instant::now() < deadline, "the task was not woken");
                    thread::park_timeout(patience());
                }
            }
        }
    }
}

/// Drives a connection, where it isn't driven by itself, for as long as the result lives.
fn driven(bus: &Bus) -> impl Drop + use<> {
    struct Stop(Arc<AtomicBool>);
    impl Drop for Stop {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Release);
        }
    }
    let stop = Arc::new(AtomicBool::new(false));
    let (bus, stopped) = (bus.clone(), Arc::clone(&stop));
    thread::spawn(move || {
        while let Some(fd) = bus.fd()
            && !stopped.load(Ordering::Acquire)
        {
            readable(fd, true);
            while bus.turn() {}
        }
    });
    Stop(stop)
}

fn a_task_is_woken() {
    const COUNT: u64 = 1000;
    let fixture = Fixture::quiet();
    let (bus, publisher) = (fixture.connect(), fixture.connect());
    let mut subscription = bus.subscribe("task/#").unwrap();
    let mut typed = bus.subscribe_as::<u64>("task/value").unwrap();
    let _driven = driven(&bus);
    let thread = thread::spawn(move || {
        for number in 1..=COUNT {
            // One at a time as well as many at once.
            match number % 50 {
                0 => publisher.publish_acked("task/a", &payload(1, number, 64)).map(drop).unwrap(),
                _ => publisher.publish("task/a", &payload(1, number, 64)).unwrap(),
            }
        }
        publisher.publish_value_acked("task/value", &7u64).unwrap();
    });
    let mut tally = Tally::from_one();
    while tally.total() < COUNT + 1 {
        tally.add(&next(&mut subscription).expect("the stream goes on"));
    }
    assert_eq!(tally.lost, 0);
    assert!(matches!(next(&mut typed), Some(nlbus::TypedDelivery::Value(7, _))));
    thread.join().unwrap();
}

fn a_task_sees_the_end() {
    let fixture = Fixture::quiet();
    let bus = fixture.connect();
    let mut subscription = bus.subscribe("task/#").unwrap();
    bus.publish_acked("task/a", "x").unwrap();
    let driven = driven(&bus);
    assert!(matches!(next(&mut subscription), Some(Delivery::Event(_))));
    let task = thread::spawn(move || next(&mut subscription).is_none());
    bus.close().unwrap();
    assert!(task.join().unwrap(), "the stream ends with the bus");
    drop(driven);
}

/// Where the caller drives, one of those who wait does it for all, and another one when it has what it waited for.
fn threads_share_a_connection() {
    const COUNT: u64 = 500;
    let fixture = Fixture::quiet();
    let bus = fixture.connect();
    let subscribers: Vec<_> = (1..=4)
        .map(|quarter| {
            let mut subscription = bus.subscribe("shared/#").unwrap();
            thread::spawn(move || {
                let mut tally = Tally::from_one();
                // Some have enough before others.
                tally.take(&mut subscription, COUNT * quarter / 4 * 2);
                tally.lost
            })
        })
        .collect();
    let publishers: Vec<_> = (0..2)
        .map(|id| {
            let bus = bus.clone();
            thread::spawn(move || {
                for number in 1..=COUNT {
                    let payload = payload(id, number, 64);
                    match number % 10 {
                        0 => bus.publish_acked(&format!("shared/{id}"), &payload).map(drop).unwrap(),
                        _ => bus.publish(&format!("shared/{id}"), &payload).unwrap(),
                    }
                    if number % 100 == 0 {
                        bus.info().unwrap();
                    }
                }
            })
        })
        .collect();
    publishers.into_iter().for_each(|thread| thread.join().unwrap());
    let lost: Vec<u64> = subscribers.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert_eq!(lost, [0; 4]);
}

/// Publishes when the thread that has it puts its thread-locals away.
struct LastWords(Bus);

impl Drop for LastWords {
    fn drop(&mut self) {
        self.0.publish("end/words", "bye").unwrap();
    }
}

fn a_thread_publishes_to_its_very_end() {
    thread_local!(static WORDS: RefCell<Option<LastWords>> = const { RefCell::new(None) });
    let fixture = Fixture::quiet();
    let bus = fixture.connect();
    let mut subscription = bus.subscribe("end/words").unwrap();
    let speaker = bus.clone();
    let thread = thread::spawn(move || {
        WORDS.set(Some(LastWords(speaker.clone())));
        // The library's own thread-local comes after it, and goes before it.
        speaker.publish("end/words", "hello").unwrap();
    });
    thread.join().unwrap();
    let said: Vec<_> = events(&mut subscription, 2).iter().map(|event| event.payload().to_vec()).collect();
    assert_eq!(said, [b"hello".to_vec(), b"bye".to_vec()]);
}

/// A thread that waits is told of what another one, which drives, took for it. Without heartbeats, and sooner than a
/// timer lets the driver go round: nothing else tells it.
fn nobody_sleeps_on_what_another_thread_took_for_him() {
    const THREADS: u32 = 6;
    const ROUNDS: u64 = 8000;
    const SOON: Duration = Duration::from_secs(1);
    let fixture = Fixture::quiet();
    let (bus, publisher) = (fixture.connect(), fixture.connect());
    let (heard, hears) = mpsc::channel();
    for number in 0..THREADS {
        let mut subscription = bus.subscribe(&format!("turns/{number}")).unwrap();
        let heard = heard.clone();
        // They end with the test, which doesn't wait for them.
        thread::spawn(move || while subscription.recv().is_ok() && heard.send(number).is_ok() {});
    }
    for round in 1..=ROUNDS {
        for number in 0..THREADS {
            publisher.publish(&format!("turns/{number}"), "x").unwrap();
        }
        let mut silent: Vec<u32> = (0..THREADS).collect();
        while !silent.is_empty() {
            let heard = hears.recv_timeout(SOON);
            let heard = heard.unwrap_or_else(|_| panic!("round {round}: {silent:?} sleep on what is theirs"));
            silent.retain(|number| *number != heard);
        }
    }
    bus.close().unwrap();
}

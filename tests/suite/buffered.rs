//! Promise 13 through a buffer: events go out in order and in time, by themselves too, and what can't be sent isn't lost
//! silently.

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nlbus::{BufferedPublisher, Bus, Content, Delivery, PublishReason};
use nlbus_tests::{Fixture, cases, events, quiet, wait_for, wait_for_head};
use std::thread;
use std::time::Duration;

cases![
    buffered_events_keep_their_order,
    many_buffered_events_go_in_one_datagram,
    what_is_buffered_goes_out_by_itself,
    a_new_delay_is_of_what_waits_already,
    what_is_buffered_for_long_goes_out_with_its_publisher,
    a_flush_of_the_bus_is_one_of_its_buffers,
    threads_share_a_buffered_publisher,
    a_buffered_event_that_is_refused_is_told_of,
    a_buffered_event_that_cannot_be_published_is_not_taken,
    after_the_end_of_the_bus_nothing_is_sent,
    what_waits_for_a_stopped_broker_goes_out_later user_only,
    a_buffer_survives_a_restart user_only,
];

/// Drives the connection where no thread does.
fn driven<T>(bus: &Bus, what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    wait_for(what, || {
        bus.turn();
        done()
    })
}

/// Of three topics and all sizes, some of which fill a datagram alone.
fn buffered_events_keep_their_order() {
    const COUNT: usize = 3000;
    let fixture = Fixture::new();
    let bus = fixture.connect();
    // Nobody reads while all is published, so history is to hold it.
    for topic in 0..3 {
        bus.create_topic(&format!("buffered/{topic}")).unwrap();
        bus.set_history(&format!("buffered/{topic}"), 1 << 20).unwrap();
    }
    let mut subscription = bus.subscribe("buffered/+").unwrap();
    let buffered = bus.buffered();
    for number in 0..COUNT {
        let size = if number % 500 == 7 { 64_000 } else { number % 300 };
        let mut payload = vec![0; 4 + size];
        payload[..4].copy_from_slice(&(number as u32).to_le_bytes());
        buffered.publish(&format!("buffered/{}", number / 7 % 3), &payload).unwrap();
    }
    drop(buffered);
    bus.flush().unwrap();
    let mut seen: [Vec<u32>; 3] = Default::default();
    for event in events(&mut subscription, COUNT) {
        let number = u32::from_le_bytes(event.payload()[..4].try_into().unwrap());
        seen[event.topic().rsplit('/').next().unwrap().parse::<usize>().unwrap()].push(number);
    }
    for (topic, seen) in seen.iter().enumerate() {
        let want: Vec<u32> = (0..COUNT).filter(|number| number / 7 % 3 == topic).map(|number| number as u32).collect();
        assert_eq!(*seen, want);
    }
    quiet(&mut subscription);
}

/// So a bad one refuses those before it, which separate datagrams wouldn't.
fn many_buffered_events_go_in_one_datagram() {
    let fixture = Fixture::new();
    let bus = fixture.connect();
    let buffered = bus.buffered().delay(Duration::MAX);
    for _ in 0..500 {
        buffered.publish("good", &[0; 64]).unwrap();
    }
    buffered.publish("$SYS/bad", "").unwrap();
    assert_eq!(buffered.len(), 501);
    let error = bus.flush().unwrap_err();
    assert_eq!(error.errno(), Some(Errno::EACCES));
    assert!(
        error.to_string().starts_with("501 events published before") && error.to_string().contains("$SYS/bad"),
        "{error}"
    );
    assert_eq!((bus.topic("good").unwrap(), buffered.len()), (None, 0));
    assert_eq!(bus.counters().unwrap().refused, 501, "each of them");
    // In smaller ones those before it are published.
    let buffered = buffered.size(4096);
    for _ in 0..500 {
        buffered.publish("good", &[0; 64]).unwrap();
    }
    buffered.publish("$SYS/bad", "").unwrap();
    assert_eq!(bus.flush().unwrap_err().errno(), Some(Errno::EACCES));
    // 32 to a datagram; the last one was refused.
    wait_for_head(&bus, "good", 480);
}

fn what_is_buffered_goes_out_by_itself() {
    let fixture = Fixture::quiet();
    let (bus, other) = (fixture.connect(), fixture.connect());
    let mut subscription = other.subscribe("slow").unwrap();
    let buffered = bus.buffered();
    for number in 0..5u8 {
        buffered.publish("slow", &[number]).unwrap();
        let event = driven(&bus, "the event", || other_event(&mut subscription));
        assert_eq!(event, [number]);
    }
    // While it collects for another one, too, whose time is far.
    let (later, sooner) = (bus.buffered().delay(Duration::from_secs(3600)), bus.buffered());
    later.publish("slow", &[10]).unwrap();
    sooner.publish("slow", &[11]).unwrap();
    assert_eq!(driven(&bus, "the event", || other_event(&mut subscription)), [11]);
    assert_eq!(later.len(), 1);
}

fn other_event(subscription: &mut nlbus::Subscription) -> Option<Vec<u8>> {
    match subscription.try_recv() {
        Ok(Delivery::Event(event)) => Some(event.payload().to_vec()),
        Ok(other) => panic!("{other:?}"),
        Err(_) => None,
    }
}

fn a_new_delay_is_of_what_waits_already() {
    let fixture = Fixture::new();
    let bus = fixture.connect();
    let buffered = bus.buffered().delay(Duration::MAX);
    buffered.publish("hurried", "x").unwrap();
    let buffered = buffered.delay(Duration::from_millis(1));
    driven(&bus, "the event to go out", || buffered.is_empty().then_some(()));
    let buffered = buffered.delay(Duration::from_millis(1));
    buffered.publish("hurried", "x").unwrap();
    let buffered = buffered.delay(Duration::MAX);
    buffered.flush().unwrap();
    wait_for_head(&bus, "hurried", 2);
}

fn what_is_buffered_for_long_goes_out_with_its_publisher() {
    let fixture = Fixture::new();
    let bus = fixture.connect();
    let buffered = bus.buffered().delay(Duration::MAX);
    buffered.publish_value("kept", &7u16).unwrap();
    buffered.publish_content("kept", Content::Text, "x").unwrap();
    assert!(!buffered.is_empty());
    drop(buffered);
    assert_eq!(bus.publish_acked("kept", "").unwrap(), 3);
    assert_eq!(bus.counters().unwrap().unsent, 0);
}

fn a_flush_of_the_bus_is_one_of_its_buffers() {
    let fixture = Fixture::new();
    let bus = fixture.connect();
    let (one, two) = (bus.buffered().delay(Duration::MAX), bus.buffered().delay(Duration::MAX));
    one.publish("flushed", "x").unwrap();
    two.publish("flushed", "x").unwrap();
    bus.flush().unwrap();
    wait_for_head(&bus, "flushed", 2);
    one.publish("flushed", "x").unwrap();
    one.flush().unwrap();
    assert!(one.is_empty());
    bus.clone().close().unwrap();
    wait_for_head(&fixture.connect(), "flushed", 3);
}

fn threads_share_a_buffered_publisher() {
    const EACH: u32 = 5000;
    let fixture = Fixture::new();
    let bus = fixture.connect();
    let buffered = bus.buffered().size(8192);
    thread::scope(|scope| {
        for at in 0..4 {
            let buffered = &buffered;
            scope.spawn(move || {
                (0..EACH).for_each(|number| buffered.publish_value(&format!("thread/{at}"), &number).unwrap());
            });
        }
    });
    bus.flush().unwrap();
    for at in 0..4 {
        wait_for_head(&bus, &format!("thread/{at}"), u64::from(EACH));
    }
}

fn a_buffered_event_that_is_refused_is_told_of() {
    let fixture = Fixture::new();
    let bus = fixture.connect();
    let buffered = bus.buffered();
    buffered.publish("kernel/x", "").unwrap();
    buffered.flush().unwrap();
    wait_for("the refusal", || (bus.counters().unwrap().refused == 1).then_some(()));
    let error = buffered.publish("x", "not taken").unwrap_err();
    assert!(matches!(error.reason(), PublishReason::EarlierRefused { .. }), "{error:?}");
    assert!(error.to_string().contains("kernel/x"), "{error}");
    buffered.publish("x", "taken").unwrap();
    bus.flush().unwrap();
    wait_for_head(&bus, "x", 1);
}

fn a_buffered_event_that_cannot_be_published_is_not_taken() {
    let fixture = Fixture::new();
    let bus = fixture.connect();
    let buffered = bus.buffered().delay(Duration::MAX);
    buffered.publish("x", "good").unwrap();
    for topic in ["", "x/+", "x\0"] {
        let error = buffered.publish(topic, "").unwrap_err();
        assert!(matches!(error.reason(), PublishReason::Topic(_)), "{error:?}");
    }
    for topic in ["x", "y"] {
        let error = buffered.publish(topic, &[0; 64_513]).unwrap_err();
        assert!(matches!(error.reason(), PublishReason::TooLarge(64_513)), "{error:?}");
    }
    assert_eq!(buffered.len(), 1);
    bus.flush().unwrap();
    wait_for_head(&bus, "x", 1);
}

fn after_the_end_of_the_bus_nothing_is_sent() {
    let fixture = Fixture::new();
    let bus = fixture.connect();
    let buffered = bus.buffered();
    bus.clone().close().unwrap();
    wait_for("the end of the connection", || bus.publish("y", "after").is_err().then_some(()));
    buffered.publish("x", "too late").unwrap();
    let error = buffered.flush().unwrap_err();
    assert!(matches!(error.reason(), PublishReason::Closed), "{error:?}");
    assert_eq!(buffered.len(), 1, "it stays");
    assert!(fixture.connect().topic("x").unwrap().is_none());
}

/// Publishes until nothing more is taken.
fn fill(buffered: &BufferedPublisher, size: usize) -> u64 {
    let refused = |_: &u64| match buffered.publish("hasty", &vec![0; size]) {
        Ok(()) => false,
        Err(error) => {
            assert!(error.would_block() && error.topic() == "hasty", "{error:?}");
            true
        }
    };
    (0..).find(refused).expect("an end")
}

/// The thread that watches the time doesn't wait with it: it does what else there is.
fn what_waits_for_a_stopped_broker_goes_out_later() {
    let mut fixture = Fixture::quiet();
    let bus = fixture.builder().patience(Duration::from_millis(200)).connect().unwrap();
    fixture.broker().expect("a broker").signal(Signal::SIGSTOP);
    // Until not even a small one fits.
    let sent = fill(&bus.buffered().no_wait(), 30_000) + fill(&bus.buffered().no_wait().size(0), 0);
    let last = bus.buffered();
    last.publish("hasty", "one more").unwrap();
    // Longer than its millisecond: the driver has tried, and answers all the same.
    thread::sleep(Duration::from_millis(20));
    bus.turn();
    assert_eq!(bus.counters().unwrap().refused, 0);
    assert_eq!(last.len(), 1);
    // What a dropped one can't send in the time that there is, is counted.
    let lost = bus.buffered();
    lost.publish("hasty", "lost").unwrap();
    drop(lost);
    // So is what `fill` ended with.
    let unsent = bus.counters().unwrap().unsent;
    assert!(unsent >= 1, "{unsent}");
    fixture.broker().expect("a broker").signal(Signal::SIGCONT);
    driven(&bus, "the event to go out", || last.is_empty().then_some(()));
    bus.flush().unwrap();
    wait_for_head(&bus, "hasty", sent + 2 - unsent);
}

fn a_buffer_survives_a_restart() {
    let mut fixture = Fixture::new();
    let bus = fixture.connect();
    let buffered = bus.buffered();
    fixture.broker().expect("a broker").kill();
    wait_for("the broker to be missed", || bus.publish("x", "").is_err().then_some(()));
    buffered.publish("x", "kept").unwrap();
    let error = buffered.flush().unwrap_err();
    assert!(matches!(error.reason(), PublishReason::NoBroker), "{error:?}");
    fixture.start_broker();
    driven(&bus, "the event to go out", || buffered.is_empty().then_some(()));
    let other = fixture.connect();
    wait_for("the event", || other.topic("x").unwrap().filter(|topic| topic.head == 1));
}

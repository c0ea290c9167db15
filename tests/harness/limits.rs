//! What holds at a limit, whichever way a broker was told of it: by its builder, or by a module parameter.

use crate::{events, payload, quiet};
use nix::errno::Errno;
use nlbus::{Bus, RequestError, Start};

/// On a bus with room for `limit` topics: one too many is refused in each way to make it, and what exists goes on.
pub fn one_topic_too_many_is_refused(bus: &Bus, limit: usize) {
    assert_eq!(bus.info().unwrap().limits.topics as usize, limit);
    for topic in bus.topics().unwrap().len()..limit {
        assert_eq!(bus.publish_acked(&format!("t/{topic}"), "x").unwrap(), 1);
    }
    let error = bus.publish_acked("t/more", "x").unwrap_err();
    assert_eq!(error.errno(), Some(Errno::ENOSPC), "{error}");
    assert!(error.to_string().contains("t/more"), "{error}");
    let error = bus.create_topic("t/more").unwrap_err();
    assert!(matches!(&error, RequestError::Refused(refusal) if refusal.errno == Errno::ENOSPC), "{error:?}");
    // A batch goes with its bad message.
    let last = format!("t/{}", limit - 1);
    let mut batch = bus.batch();
    batch.push(&last, "x").unwrap();
    batch.push("t/more", "x").unwrap();
    assert_eq!(batch.send_acked().unwrap_err().errno(), Some(Errno::ENOSPC));
    assert_eq!(bus.publish_acked(&last, "x").unwrap(), 2);
    assert_eq!(bus.topics().unwrap().len(), limit);
}

/// On a bus with history 0: a topic's newest event is kept all the same.
pub fn the_newest_event_is_kept(bus: &Bus) {
    for number in 1..=5 {
        assert_eq!(bus.publish_acked("state", &payload(1, number, 64)).unwrap(), number);
    }
    for start in [Start::Last(3), Start::All, Start::From(5)] {
        let mut subscription = bus.subscriber("state").start(start).open().unwrap();
        assert_eq!(events(&mut subscription, 1)[0].seq(), 5, "{start:?}");
        quiet(&mut subscription);
    }
}

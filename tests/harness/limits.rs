//! What holds at a limit, whichever way a broker was told of it: by its builder, or by a module parameter.

use crate::{Place, events, other_users, payload, quiet};
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

/// On a bus whose new topics are to have this mode: they do, whichever way they are made, unless another one is asked for.
pub fn new_topics_have_the_mode(bus: &Bus, mode: u32) {
    assert_eq!(bus.info().unwrap().limits.topic_mode, mode);
    bus.publish_acked("made/by/publishing", "x").unwrap();
    bus.create_topic("made").unwrap();
    for name in ["made/by/publishing", "made"] {
        assert_eq!(bus.topic(name).unwrap().map(|topic| topic.mode), Some(mode), "{name}");
    }
    assert_eq!(bus.topic_options("other").mode(0o604).create().unwrap().mode, 0o604);
}

/// On a bus with room for `limit` topics: there may be any number, one after the other.
pub fn topics_that_were_deleted_leave_room(bus: &Bus, limit: usize) {
    let mut last = 0;
    for round in 0..3 * limit {
        let name = format!("t/{}", round % 3);
        assert_eq!(bus.publish_acked(&name, "x").unwrap(), 1);
        let id = bus.topic(&name).unwrap().expect("a topic").id;
        assert!(id > last, "{id} after {last}");
        last = id;
        bus.delete_topic(&name).unwrap();
        assert_eq!(bus.topic(&name).unwrap(), None);
    }
    one_topic_too_many_is_refused(bus, limit);
}

/// On a bus whose new topics nobody may write to: they aren't made by writing, but by who is privileged, or asks for it.
pub fn what_nobody_may_write_to_is_not_made_by_writing(place: &Place) {
    let bus = place.connect();
    new_topics_have_the_mode(&bus, 0o444);
    if !other_users() {
        println!("    not tried as another user: this user namespace has one user only");
        return;
    }
    let mut child = place.spawn("client", &["uid=65534".to_owned()]);
    child.expect("ready");
    child.say("publish theirs");
    let line = child.line();
    assert!(line.starts_with("refused EACCES") && line.contains("'theirs'"), "{line}");
    assert_eq!(bus.topic("theirs").unwrap(), None);
    child.say("create theirs mode=0600");
    assert!(child.line().starts_with("topic mode=0600"));
    child.say("publish theirs");
    assert!(child.line().starts_with("published seq=1"));
}

//! Over core NATS, what is published on a host arrives on the others as it was: once, in order, under its topic, with its kind of
//! content.

use crate::account::{Collector, payload, publish};
use crate::bridge::Bridge;
use crate::host::Host;
use crate::plain::header;
use crate::servers::Servers;
use nlbus::{Content, Delivery, Subscription};
use nlbus_tests::{cases, patience};
use std::thread;

cases![
    each_event_arrives_once_and_in_order,
    an_event_arrives_under_the_same_topic_with_its_content,
    a_topic_that_was_deleted_and_is_there_again_begins_anew,
    what_has_no_subject_is_said_and_counted,
    an_event_that_is_too_large_is_lost_and_said,
    the_first_rule_that_matches_has_a_topic,
];

const OUT: &str = "[[out]]\ntopics = [\"#\"]\n";
const IN: &str = "[[in]]\nsubjects = [\">\"]\n";

/// The next delivery.
pub fn next(subscription: &mut Subscription) -> Delivery {
    subscription.recv_timeout(patience()).unwrap_or_else(|error| panic!("nothing came: {error}"))
}

fn each_event_arrives_once_and_in_order() {
    const EACH: u32 = 3000;
    let servers = Servers::one();
    let (a, b) = (Host::new("a", 1), Host::new("b", 2));
    let _bridges = [Bridge::start(&a, &servers, OUT), Bridge::start(&b, &servers, IN)];
    let (here, there) = (Collector::start(&a), Collector::start(&b));
    let is_full = || here.count() > there.count() + 3000;
    thread::scope(|scope| {
        for publisher in 1..=3 {
            let (bus, is_full) = (a.connect(), &is_full);
            scope.spawn(move || publish(&bus, publisher, &["x", "x/y", "x/y/z"], 0..EACH, is_full));
        }
    });
    here.wait(3 * u64::from(EACH));
    there.wait(3 * u64::from(EACH));
    let (here, there) = (here.seen(), there.seen());
    assert_eq!((there.count(), there.lost(), there.repeated(), there.late()), (9000, 0, 0, 0), "{there:?}");
    assert!(here.topics == there.topics, "another order: {there:?}");
}

/// Its numbers do; its events aren't taken for those that came before, in a stream either.
fn a_topic_that_was_deleted_and_is_there_again_begins_anew() {
    let servers = Servers::one();
    let (a, b) = (Host::new("a", 1), Host::new("b", 2));
    let out = "[[out]]\ntopics = [\"kept/#\"]\ndurable = \"KEPT\"\n[[out]]\ntopics = [\"#\"]\n";
    let into = "[[in]]\nsubjects = [\"kept.>\"]\ndurable = \"KEPT\"\n[[in]]\nsubjects = [\"live.>\"]\n";
    let _bridges = [Bridge::start(&a, &servers, out), Bridge::start(&b, &servers, into)];
    let (here, there) = (a.connect(), b.connect());
    for topic in ["kept/x", "live/x"] {
        let mut arriving = there.subscribe(topic).expect("to subscribe");
        for round in 0..3 {
            for number in 0..3 {
                let payload = format!("{round} {number}");
                here.publish_acked(topic, &payload).expect("to publish");
                let Delivery::Event(event) = next(&mut arriving) else { panic!("no event for {topic} {payload}") };
                assert_eq!((event.topic(), event.payload()), (topic, payload.as_bytes()));
            }
            here.delete_topic(topic).expect("to delete it");
        }
    }
}

fn an_event_arrives_under_the_same_topic_with_its_content() {
    let servers = Servers::one();
    let (a, b) = (Host::new("a", 1), Host::new("b", 2));
    let _bridges = [Bridge::start(&a, &servers, OUT), Bridge::start(&b, &servers, IN)];
    let (here, there) = (a.connect(), b.connect());
    let mut arriving = there.subscribe("#").expect("to subscribe");
    let longest = "l/".repeat(127) + "l";
    let topics = [
        "a",
        "a/b",
        "a.b",
        "a.b/c",
        "v1.2.3/x",
        ".",
        "..",
        "/",
        "//",
        "/a",
        "a/",
        "a//b",
        "/a/",
        "a/./b",
        "a/../b",
        "./a",
        "a/.",
        "grün/é/日本",
        "a*b",
        "a>b",
        "-_=@:,;'\"",
        &longest,
    ];
    let contents = [Content::Text, Content::Json, Content::Bincode, Content::Opaque];
    for (number, topic) in topics.into_iter().enumerate() {
        for content in contents {
            let seq =
                here.publish_content_acked(topic, content, &[number as u8, 0, b'\r', b'\n', 0xff]).expect("to publish");
            let Delivery::Event(event) = next(&mut arriving) else { panic!("something else than {topic}") };
            let came = (event.topic(), event.content(), event.payload(), event.seq());
            assert_eq!(came, (topic, content, &[number as u8, 0, b'\r', b'\n', 0xff][..], seq));
        }
    }
    // Without a byte, too.
    here.publish("empty", "").expect("to publish");
    let Delivery::Event(event) = next(&mut arriving) else { panic!("no event") };
    assert_eq!((event.topic(), event.payload()), ("empty", &b""[..]));
}

fn what_has_no_subject_is_said_and_counted() {
    let servers = Servers::one();
    let (a, b) = (Host::new("a", 1), Host::new("b", 2));
    let (mut out, _in) = (Bridge::start(&a, &servers, OUT), Bridge::start(&b, &servers, IN));
    let here = a.connect();
    let there = Collector::start(&b);
    for topic in ["with space", "a/*/b", "a/>", "tab\there"] {
        for number in 0..3 {
            here.publish(topic, &payload(1, number)).expect("to publish");
        }
        let said = out.program().hear("don't go out");
        assert!(said.contains(&format!("{topic:?}")), "{said}");
    }
    publish(&here, 2, &["fine"], 0..10, || false);
    there.wait(10);
    assert_eq!(there.seen().topics.keys().collect::<Vec<_>>(), ["fine"]);
    assert_eq!(out.metric(&a, "nlbus_nats_out_unmappable_events_total"), 12);
    assert_eq!(out.metric(&a, "nlbus_nats_out_events_total"), 10);
}

fn an_event_that_is_too_large_is_lost_and_said() {
    let servers = Servers::with(1, "max_payload: 16KB");
    let (a, b) = (Host::new("a", 1), Host::new("b", 2));
    let (mut out, into) = (Bridge::start(&a, &servers, OUT), Bridge::start(&b, &servers, IN));
    let here = a.connect();
    let bus = b.connect();
    let mut arriving = bus.subscribe("t").expect("to subscribe");
    here.publish("t", "1").expect("to publish");
    here.publish("t", &[0; 20_000]).expect("to publish");
    here.publish("t", "3").expect("to publish");
    let came: Vec<_> = (0..3).map(|_| next(&mut arriving)).collect();
    match &came[..] {
        [Delivery::Event(one), Delivery::Lost(lost), Delivery::Event(three)] => {
            assert_eq!((one.payload(), lost.count(), three.payload()), (&b"1"[..], 1, &b"3"[..]));
        }
        other => panic!("{other:?}"),
    }
    out.program().hear("too much");
    assert_eq!(out.metric(&a, "nlbus_nats_out_lost_events_total"), 1);
    assert_eq!(into.metric(&b, "nlbus_nats_in_lost_events_total"), 1);
}

fn the_first_rule_that_matches_has_a_topic() {
    let servers = Servers::one();
    let client = servers.client();
    let heard = client.listen(">");
    let host = Host::new("a.b", 1);
    let rules = r##"
[[out]]
topics = ["s/+/temp", "s/#"]
exclude = ["s/raw/#"]
prefix = "first.{host}"

[[out]]
topics = ["#"]
exclude = ["none/#"]
prefix = "second"
"##;
    let _bridge = Bridge::start(&host, &servers, rules);
    let bus = host.connect();
    for topic in ["s/1/temp", "s/1/other", "s", "s/raw/x", "other", "none/x", "end"] {
        bus.publish_acked(topic, topic).expect("to publish");
    }
    let mut came: Vec<_> = heard.wait(6).iter().map(|message| message.subject.to_string()).collect();
    came.sort();
    let expected =
        ["first.a//b.s", "first.a//b.s.1.other", "first.a//b.s.1.temp", "second.end", "second.other", "second.s.raw.x"];
    assert_eq!(came, expected);
    assert!(
        heard.messages().iter().all(|message| header(message, "Nlbus-Host") == Some("a.b")),
        "{:?}",
        heard.messages()
    );
}

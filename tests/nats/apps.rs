//! Programs of NATS need know nothing of nlbus: what they publish comes in, and what goes out they read by its subject.

use crate::account::Collector;
use crate::bridge::Bridge;
use crate::host::Host;
use crate::live::next;
use crate::plain::header;
use crate::servers::Servers;
use async_nats::HeaderMap;
use nlbus::{Content, Delivery};
use nlbus_tests::cases;

cases![
    what_they_publish_comes_in,
    what_they_publish_into_a_stream_comes_in,
    what_goes_out_they_read_by_its_subject,
    a_stream_that_is_there_is_taken_as_it_is,
    what_no_bridge_writes_stays_outside,
];

fn what_they_publish_comes_in() {
    let servers = Servers::one();
    let client = servers.client();
    let host = Host::new("a", 1);
    let rules = r#"
[[in]]
subjects = ["plant.*.temp", "one"]

[[in]]
subjects = ["site.>"]
strip = "site.*"
prefix = "remote"
"#;
    let _bridge = Bridge::start(&host, &servers, rules);
    let bus = host.connect();
    let mut arriving = bus.subscribe("#").expect("to subscribe");
    let mut json = HeaderMap::new();
    json.insert("Nlbus-Content", "json");
    client.publish("other", "no rule has it");
    client.publish("site.x", "nothing would be left of it");
    for (subject, headers, topic, content) in [
        ("plant.7.temp", HeaderMap::new(), "plant/7/temp", Content::Opaque),
        ("one", json, "one", Content::Json),
        ("site.x.y.z//1", HeaderMap::new(), "remote/y/z.1", Content::Opaque),
        ("plant.7.temp", HeaderMap::new(), "plant/7/temp", Content::Opaque),
    ] {
        client.publish_with(subject, headers, subject);
        let Delivery::Event(event) = next(&mut arriving) else { panic!("no event") };
        assert_eq!((event.topic(), event.content(), event.payload()), (topic, content, subject.as_bytes()));
    }
}

fn what_they_publish_into_a_stream_comes_in() {
    let servers = Servers::one();
    servers.wait_for_jetstream();
    let client = servers.client();
    let host = Host::new("a", 1);
    let rules = "[[in]]\nsubjects = [\"jobs.>\"]\ndurable = \"JOBS\"\nstart = \"all\"\n[streams.JOBS]\nsubjects = [\"jobs.>\"]\n";
    let mut bridge = Bridge::start(&host, &servers, rules);
    let bus = host.connect();
    let mut arriving = bus.subscribe("#").expect("to subscribe");
    let mut expect = |from: u32, to: u32| {
        for number in from..to {
            // What the bridge keeps for itself is there, too.
            let event = loop {
                match next(&mut arriving) {
                    Delivery::Event(event) if event.topic().starts_with("$nlbus-nats/") => {}
                    Delivery::Event(event) => break event,
                    other => panic!("{other:?}"),
                }
            };
            assert_eq!((event.topic(), event.payload()), ("jobs/new", number.to_string().as_bytes()));
        }
    };
    (0..100).for_each(|number| client.publish("jobs.new", &number.to_string()));
    expect(0, 100);
    // What comes while there is no bridge waits in the stream.
    bridge.kill();
    (100..200).for_each(|number| client.publish("jobs.new", &number.to_string()));
    bridge.start_again(&host);
    expect(100, 200);
    bridge.terminate();
    (200..300).for_each(|number| client.publish("jobs.new", &number.to_string()));
    bridge.start_again(&host);
    expect(200, 300);
}

fn what_goes_out_they_read_by_its_subject() {
    let servers = Servers::one();
    servers.wait_for_jetstream();
    let client = servers.client();
    let heard = client.listen("site.>");
    let host = Host::new("web1", 1);
    let rules = r#"
[[out]]
topics = ["live/#"]
prefix = "site.{host}"

[[out]]
topics = ["kept/#"]
prefix = "site.{host}"
durable = "KEPT"
"#;
    let _bridge = Bridge::start(&host, &servers, rules);
    let bus = host.connect();
    let mut here = bus.subscribe("#").expect("to subscribe");
    for topic in ["live/1.x/temp", "kept/1.x/temp"] {
        let subject = format!("site.web1.{}", topic.replace('.', "//").replace('/', ".").replace("..", "//"));
        for (number, content, name) in [
            (1, Content::Text, Some("text")),
            (2, Content::Json, Some("json")),
            (3, Content::Bincode, Some("bincode")),
            (4, Content::Opaque, None),
        ] {
            let before = heard.count();
            let payload = format!("{topic} {number}");
            let seq = bus.publish_content_acked(topic, content, &payload).expect("to publish");
            let Delivery::Event(event) = next(&mut here) else { panic!("no event") };
            let message = heard.wait(before + 1)[before].clone();
            assert_eq!((message.subject.as_str(), &message.payload[..]), (subject.as_str(), payload.as_bytes()));
            assert_eq!(header(&message, "Nlbus-Host"), Some("web1"));
            assert_eq!(header(&message, "Nlbus-Topic"), Some(topic));
            assert_eq!(header(&message, "Nlbus-Epoch"), Some(event.epoch().to_string().as_str()));
            assert_eq!(header(&message, "Nlbus-Seq"), Some(seq.to_string().as_str()));
            assert_eq!(header(&message, "Nlbus-Content"), name);
            let is_kept = topic.starts_with("kept");
            let id = format!("web1:{}:{}:{seq}", event.epoch(), event.topic_id());
            assert_eq!(header(&message, "Nats-Msg-Id"), is_kept.then_some(id.as_str()));
            assert_eq!(header(&message, "Nlbus-Topic-Id"), Some(event.topic_id().to_string().as_str()));
        }
    }
    let stored = client.stored("KEPT");
    assert_eq!(stored.len(), 4);
    assert!(stored.iter().all(|message| message.subject.as_str() == "site.web1.kept.1//x.temp"), "{stored:?}");
}

fn a_stream_that_is_there_is_taken_as_it_is() {
    let servers = Servers::one();
    servers.wait_for_jetstream();
    let client = servers.client();
    // By default a stream takes no atomic batches.
    let config = async_nats::jetstream::stream::Config {
        name: "OLD".into(),
        subjects: vec!["old.>".into()],
        max_messages: 1_000_000,
        ..Default::default()
    };
    client.block(client.jetstream().create_stream(config)).expect("a stream");
    let (a, b) = (Host::new("a", 1), Host::new("b", 2));
    let mut out = Bridge::start(&a, &servers, "[[out]]\ntopics = [\"old/#\"]\ndurable = \"OLD\"\n");
    out.program();
    let _into = Bridge::start(&b, &servers, "[[in]]\nsubjects = [\"old.>\"]\ndurable = \"OLD\"\n");
    let there = Collector::start(&b);
    let bus = a.connect();
    crate::account::publish(&bus, 1, &["old/1", "old/2", "old/3"], 0..3000, || false);
    there.wait(3000);
    let seen = there.seen();
    assert_eq!((seen.count(), seen.lost(), seen.repeated(), seen.late()), (3000, 0, 0, 0), "{seen:?}");
    assert_eq!(client.count_stored("OLD"), 3000);
    assert!(out.program().said().iter().any(|line| line.contains("atomic")), "{:?}", out.program().said());
}

fn what_no_bridge_writes_stays_outside() {
    let servers = Servers::one();
    let client = servers.client();
    let host = Host::new("a", 1);
    let mut bridge = Bridge::start(&host, &servers, "[[in]]\nsubjects = [\">\"]\n");
    let bus = host.connect();
    let mut arriving = bus.subscribe("#").expect("to subscribe");
    let good =
        [("Nlbus-Host", "b"), ("Nlbus-Epoch", "7"), ("Nlbus-Topic", "t"), ("Nlbus-Topic-Id", "9"), ("Nlbus-Seq", "5")];
    let with = |name: &str, value: &str| {
        let mut headers = HeaderMap::new();
        good.into_iter().for_each(|(name, value)| headers.insert(name, value));
        headers.insert(name, value);
        headers
    };
    let bad = [
        ("Nlbus-Seq", "0"),
        ("Nlbus-Seq", "18446744073709551616"),
        ("Nlbus-Epoch", "x"),
        ("Nlbus-Lost", "6"),
        ("Nlbus-Skipped", "5"),
    ];
    for (name, value) in bad {
        client.publish_with("t", with(name, value), "malformed");
    }
    for subject in ["a.b+c", "a.#b", &format!("{}l", "l.".repeat(200))] {
        client.publish(subject, "no topic");
    }
    // Where nobody may publish.
    client.publish("kernel.x", "reserved");
    // What belongs to servers, clients and bridges isn't meant by a wildcard.
    for subject in ["$nlbus-nats.x.y", "$X.y", "_INBOX.x"] {
        client.publish(subject, "internal");
    }
    client.publish_with("t", with("Nlbus-Seq", "5"), "good");
    let Delivery::Event(event) = next(&mut arriving) else { panic!("no event") };
    assert_eq!((event.topic(), event.payload()), ("t", &b"good"[..]));
    assert_eq!(bridge.metric(&host, "nlbus_nats_in_malformed_total"), bad.len() as u64);
    assert_eq!(bridge.metric(&host, "nlbus_nats_in_unmappable_total"), 4);
    assert!(bridge.program().is_running());
}

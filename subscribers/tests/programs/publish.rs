//! `nlbus pub`: what is published when, and what becomes of what isn't, shown with the real command on a real broker.

use crate::command::{json, numbers};
use crate::host::{Host, Running, on_a_host};
use std::io::{PipeWriter, Write, pipe};
use std::time::{Duration, Instant};

/// One that publishes lines to `topic` as they are written.
fn publisher(host: &Host, topic: &str) -> (Running, PipeWriter) {
    let (reader, writer) = pipe().unwrap();
    let args = ["pub", topic, "--lines"];
    (Running::start(host.command(env!("CARGO_BIN_EXE_nlbus")).args(args).stdin(reader), &args), writer)
}

#[test]
fn each_line_of_input_is_an_event_in_its_order() {
    on_a_host(|host| {
        let _broker = host.broker();
        let sub = host.sub(&["x", "--raw", "--count", "20000"]);
        let mut input = numbers(20_000).join("\n").into_bytes();
        input.extend_from_slice(b"\n");
        assert!(host.nlbus_reads(&["pub", "x", "--lines"], input).succeeds().is_empty());
        assert_eq!(sub.succeeds(), numbers(20_000));
    });
}

#[test]
fn a_line_is_published_as_soon_as_it_is_there() {
    on_a_host(|host| {
        let _broker = host.broker();
        let mut sub = host.sub(&["x", "--raw"]);
        // The publisher's input stays open until the subscriber has got the line.
        let (publisher, mut input) = publisher(host, "x");
        input.write_all(b"first\nsec").unwrap();
        assert_eq!(sub.next_line(), "first");
        drop(input);
        assert_eq!(sub.next_line(), "sec");
        publisher.succeeds();
    });
}

#[test]
fn acks_are_sequence_numbers() {
    on_a_host(|host| {
        let _broker = host.broker();
        assert_eq!(host.nlbus(&["pub", "x", "hi", "--ack", "--count", "3"]).succeeds(), numbers(3));
        assert!(host.nlbus(&["pub", "x", "hi", "--ack", "-q"]).succeeds().is_empty());
        assert_eq!(host.nlbus(&["pub", "x", "hi", "--ack", "--no-wait"]).succeeds(), ["5"]);
        let paced = host.nlbus(&["pub", "x", "hi", "--count", "3", "--interval", "1ms", "--ack"]);
        assert_eq!(paced.succeeds(), ["6", "7", "8"]);
    });
}

#[test]
fn a_refusal_fails_and_names_the_topic() {
    on_a_host(|host| {
        let _broker = host.broker();
        for args in [&["pub", "$SYS/x", "hi"][..], &["pub", "kernel/x", "hi", "--count", "9999"]] {
            let line = host.nlbus(args).fails(1);
            assert!(line.starts_with("nlbus: ") && line.contains(args[1]), "{line}");
        }
        let quiet = host.nlbus(&["pub", "$SYS/x", "hi", "-q"]).end();
        assert_eq!((quiet.code, quiet.notes.len()), (Some(1), 0), "{quiet:?}");
    });
}

#[test]
fn what_no_event_can_carry_fails() {
    on_a_host(|host| {
        let _broker = host.broker();
        let sub = host.sub(&["x", "--json", "--count", "1"]);
        host.nlbus_reads(&["pub", "x"], vec![b'x'; 64_513]).fails(1);
        host.nlbus_reads(&["pub", "x"], vec![b'x'; 64_512]).succeeds();
        assert_eq!(json(&sub.succeeds()[0])["payload"].as_str().unwrap().len(), 64_512);
    });
}

#[test]
fn a_line_that_no_event_can_carry_is_named_and_those_before_it_are_published() {
    on_a_host(|host| {
        let _broker = host.broker();
        let sub = host.sub(&["x", "--raw", "--count", "2"]);
        let input = [&b"1\n2\n"[..], &[b'x'; 200_000], b"\n4\n"].concat();
        let line = host.nlbus_reads(&["pub", "x", "--lines"], input).fails(1);
        assert!(line.contains("line 3 ") && line.contains("64512 bytes"), "{line}");
        assert_eq!(sub.succeeds(), ["1", "2"]);
    });
}

#[test]
fn an_interrupted_publisher_tells_of_a_refusal_first() {
    on_a_host(|host| {
        let _broker = host.broker();
        let (publisher, mut input) = publisher(host, "kernel/x");
        input.write_all(b"first\n").unwrap();
        let bus = host.connect();
        let deadline = Instant::now() + Duration::from_secs(30);
        while bus.info().unwrap().counters.refused == 0 {
            assert!(Instant::now() < deadline, "the broker got no event");
        }
        publisher.signal("TERM");
        let line = publisher.fails(130);
        assert!(line.contains("kernel/x") && line.contains("refused"), "{line}");
    });
}

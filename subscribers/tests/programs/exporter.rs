//! `nlbus-exporter`: Prometheus' own parser reads what happened on the bus.

use crate::host::{Host, Running, on_a_host};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const EXPORTER: &str = env!("CARGO_BIN_EXE_nlbus-exporter");

/// An exporter that is ready, and its address.
fn start(host: &Host, args: &[&str]) -> (Running, String) {
    let args = [&["--listen", "127.0.0.1:0", "--interval", "50ms"], args].concat();
    let mut exporter = Running::start(host.command(EXPORTER).args(&args).stdin(Stdio::null()), &args);
    let note = exporter.next_note();
    let address = note.split("listening at ").nth(1).unwrap_or_else(|| panic!("{note}")).to_owned();
    assert!(exporter.next_note().ends_with("ready"));
    (exporter, address)
}

fn answer(address: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// An answer's first line, and its body.
fn http(address: &str, request: &str) -> (String, String) {
    let answer = answer(address, request);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

/// The samples, as the parser of Prometheus' Python client sees them: name, labels, value, type.
fn scrape(address: &str) -> Vec<(String, Value, f64, String)> {
    const PARSE: &str = "import sys, json
from prometheus_client.parser import text_string_to_metric_families as parse
print(json.dumps([[s.name, s.labels, s.value, f.type] for f in parse(sys.stdin.read()) for s in f.samples]))";
    let (status, page) = http(address, "GET /metrics");
    assert_eq!(status, "HTTP/1.1 200 OK");
    // Debian's, whatever else is called python3 here.
    let mut parser = Command::new("/usr/bin/python3");
    let mut parser = parser.args(["-c", PARSE]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    parser.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let output = parser.wait_with_output().unwrap();
    assert!(output.status.success(), "python3-prometheus-client can't read it:\n{page}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A sample's value, once it is what is looked for.
fn wait_for(address: &str, name: &str, label: (&str, &str), wanted: impl Fn(f64) -> bool) -> f64 {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let samples = scrape(address);
        let is_labelled = |labels: &Value| label.0.is_empty() || labels[label.0] == label.1;
        let mut found = samples.iter().filter(|(sample, labels, ..)| sample == name && is_labelled(labels));
        if let Some((_, _, value, _)) = found.find(|(_, _, value, _)| wanted(*value)) {
            return *value;
        }
        assert!(Instant::now() < deadline, "{name} {label:?}: {samples:#?}");
    }
}

#[test]
fn a_real_parser_reads_what_happened() {
    on_a_host(|host| {
        let _broker = host.broker();
        let (exporter, address) = start(host, &[]);
        let bus = host.connect();
        let topic = "a \"quoted\\ topic\"/ö";
        for _ in 0..25 {
            bus.publish_acked(topic, "12345678").unwrap();
        }
        let at = ("topic", topic);
        wait_for(&address, "nlbus_topic_events_total", at, |value| value == 25.0);
        wait_for(&address, "nlbus_topic_payload_bytes_total", at, |value| value == 200.0);
        wait_for(&address, "nlbus_topic_newest_sequence_number", at, |value| value == 25.0);
        wait_for(&address, "nlbus_topic_kept_events", at, |value| value == 25.0);
        wait_for(&address, "nlbus_topic_replayed_events_total", at, |value| value <= 25.0);
        wait_for(&address, "nlbus_topic_events_per_second", at, |value| value == 0.0);
        wait_for(&address, "nlbus_broker_info", ("broker", "user"), |value| value == 1.0);
        wait_for(&address, "nlbus_socket_queued_bytes", ("role", "broker"), |value| value >= 0.0);
        let samples = scrape(&address);
        assert!(
            samples.iter().all(|(name, _, _, kind)| name.ends_with("_total") == (kind == "counter")),
            "{samples:#?}"
        );
        exporter.signal("TERM");
        exporter.succeeds();
    });
}

#[test]
fn who_is_slow_is_seen_without_his_help() {
    on_a_host(|host| {
        let _broker = host.broker();
        let (_exporter, address) = start(host, &["none"]);
        let bus = host.connect();
        // So that the slow one's group is joined before it is stopped.
        bus.create_topic("flood").unwrap();
        let slow = host.sub(&["flood"]);
        slow.signal("STOP");
        for _ in 0..400 {
            bus.publish("flood", &vec![0; 60_000]).unwrap();
        }
        bus.flush().unwrap();
        wait_for(&address, "nlbus_socket_queued_bytes", ("role", "client"), |value| value > 1e6);
        wait_for(&address, "nlbus_socket_dropped_datagrams_total", ("role", "client"), |value| value > 0.0);
        slow.signal("CONT");
    });
}

#[test]
fn topics_beyond_the_limit_are_one() {
    on_a_host(|host| {
        let _broker = host.broker();
        let (_exporter, address) = start(host, &["--max-topics", "1", "t/#"]);
        let bus = host.connect();
        for topic in ["t/1", "t/2", "t/3"] {
            bus.publish_acked(topic, "x").unwrap();
        }
        wait_for(&address, "nlbus_topic_events_total", ("topic", "_other"), |value| value >= 2.0);
    });
}

#[test]
fn odd_clients_harm_nobody() {
    on_a_host(|host| {
        let broker = host.broker();
        let (_exporter, address) = start(host, &[]);
        // Some say nothing, and some half of it.
        let idle: Vec<_> = (0..20).map(|_| TcpStream::connect(&address).unwrap()).collect();
        let mut half = TcpStream::connect(&address).unwrap();
        half.write_all(b"GET /met").unwrap();
        assert_eq!(http(&address, "GET /nowhere").0, "HTTP/1.1 404 Not Found");
        let refused = answer(&address, "POST /metrics");
        assert!(refused.starts_with("HTTP/1.1 405 ") && refused.contains("\r\nallow: GET, HEAD\r\n"), "{refused}");
        let (status, body) = http(&address, "HEAD /metrics");
        assert_eq!((status.as_str(), body.as_str()), ("HTTP/1.1 200 OK", ""));
        wait_for(&address, "nlbus_up", ("", ""), |value| value == 1.0);
        drop((idle, half));
        drop(broker);
        let _broker = host.broker();
        wait_for(&address, "nlbus_restarts_total", ("", ""), |value| value == 1.0);
    });
}

#[test]
fn scrapes_at_a_time_tell_the_same() {
    on_a_host(|host| {
        let _broker = host.broker();
        let (_exporter, address) = start(host, &[]);
        let bus = host.connect();
        for n in 0..100 {
            bus.publish_acked(&format!("t/{}", n % 10), "x").unwrap();
        }
        thread::scope(|scope| {
            let scrape = || (0..50).map(|_| http(&address, "GET /metrics").1).collect::<Vec<_>>();
            let scrapers: Vec<_> = (0..8).map(|_| scope.spawn(scrape)).collect();
            for page in scrapers.into_iter().flat_map(|scraper| scraper.join().unwrap()) {
                let brokers = page.lines().filter(|line| line.starts_with("nlbus_broker_info{"));
                assert_eq!(brokers.count(), 1, "{page}");
                let kept = page.lines().filter(|line| line.starts_with("nlbus_topic_kept_events{"));
                assert_eq!(kept.filter(|line| line.ends_with("} 10")).count(), 10, "{page}");
            }
        });
    });
}

#[test]
fn what_is_not_asked_for_is_not_told_of() {
    on_a_host(|host| {
        let _broker = host.broker();
        let (_exporter, address) = start(host, &["--exclude", "b/#", "--max-topics", "2"]);
        let bus = host.connect();
        for topic in ["a", "b/1", "b/2", "b/3"] {
            bus.publish_acked(topic, "x").unwrap();
        }
        wait_for(&address, "nlbus_topic_events_total", ("topic", "a"), |value| value == 1.0);
        wait_for(&address, "nlbus_topic_kept_events", ("topic", "a"), |value| value == 1.0);
        let page = http(&address, "GET /metrics").1;
        let others = page.lines().filter(|line| line.contains("topic=\"b/") || line.contains("topic=\"$SYS"));
        assert_eq!(others.collect::<Vec<_>>(), Vec::<&str>::new());
        let kept = page.lines().filter(|line| line.starts_with("nlbus_topic_kept_events{"));
        assert_eq!(kept.collect::<Vec<_>>(), ["nlbus_topic_kept_events{topic=\"a\"} 1"]);
    });
}

#[test]
fn topics_that_came_once_blind_it_for_a_while_only() {
    on_a_host(|host| {
        let _broker = host.broker();
        let (_exporter, address) = start(host, &["--max-topics", "10"]);
        let bus = host.connect();
        for n in 0..100 {
            bus.publish_acked(&format!("junk/{n}"), "x").unwrap();
        }
        // All but ten, and but those that took the place of some that were silent for too long, on a slow machine.
        wait_for(&address, "nlbus_topic_events_total", ("topic", "_other"), |value| value >= 50.0);
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            bus.publish_acked("new", "x").unwrap();
            let page = http(&address, "GET /metrics").1;
            if page.contains("nlbus_topic_events_total{topic=\"new\"}") {
                let own = page.lines().filter(|line| line.starts_with("nlbus_topic_events_total{"));
                assert_eq!(own.count(), 11, "ten, and the others: {page}");
                break;
            }
            assert!(Instant::now() < deadline, "{page}");
        }
    });
}

#[test]
fn a_crowd_of_odd_clients_holds_up_nobody() {
    on_a_host(|host| {
        let _broker = host.broker();
        let (_exporter, address) = start(host, &[]);
        // Some say nothing.
        let idle: Vec<_> = (0..256).map(|_| TcpStream::connect(&address).unwrap()).collect();
        let begun = Instant::now();
        assert_eq!(http(&address, "GET /metrics").0, "HTTP/1.1 200 OK");
        assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
        drop(idle);
        // Some ask again and again, and read nothing.
        let requests = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".repeat(1000);
        let deaf: Vec<_> = (0..256)
            .map(|_| {
                let mut stream = TcpStream::connect(&address).unwrap();
                stream.set_nonblocking(true).unwrap();
                // As much as there is room for; nothing, where it is closed already.
                let _ = stream.write(requests.as_bytes());
                stream
            })
            .collect();
        let begun = Instant::now();
        assert_eq!(http(&address, "GET /metrics").0, "HTTP/1.1 200 OK");
        assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
        drop(deaf);
    });
}

#[test]
fn who_says_nothing_is_not_waited_for_long() {
    on_a_host(|host| {
        let _broker = host.broker();
        let (_exporter, address) = start(host, &[]);
        let mut idle = TcpStream::connect(&address).unwrap();
        let begun = Instant::now();
        idle.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut said = Vec::new();
        idle.read_to_end(&mut said).unwrap();
        assert!(begun.elapsed() < Duration::from_secs(6), "{:?}: {}", begun.elapsed(), said.escape_ascii());
    });
}

#[test]
fn a_connection_is_for_one_request() {
    on_a_host(|host| {
        let _broker = host.broker();
        let (_exporter, address) = start(host, &[]);
        let mut stream = TcpStream::connect(&address).unwrap();
        write!(stream, "GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut said = String::new();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        stream.read_to_string(&mut said).expect("it is closed after the answer");
        assert!(said.contains("connection: close"), "{said}");
    });
}

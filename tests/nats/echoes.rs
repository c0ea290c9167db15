//! However bridges' rules overlap, an event never comes back to where it was published, and nowhere twice.

use crate::account::{Collector, publish};
use crate::bridge::{Bridge, Setup};
use crate::host::Host;
use crate::plain::Heard;
use crate::servers::Servers;
use nlbus_tests::cases;

cases![
    hosts_that_send_and_take_everything,
    hosts_that_share_topics_by_prefixes,
    a_ring_of_hosts_that_send_on_what_comes_in,
    a_ring_of_hosts_that_send_on_what_comes_in_by_streams,
    two_bridges_on_a_host_that_send_the_same,
];

const EACH: u32 = 500;

/// Publishes on each host in turn. Then once more, which arrives after any echo of the first ones; so what there is then is all.
fn round(hosts: &[Host], collectors: &[Collector], topics: &[&str], heard: &Heard, messages_an_event: usize) {
    let buses: Vec<_> = hosts.iter().map(Host::connect).collect();
    let events = EACH * hosts.len() as u32;
    for round in 0..2 {
        for (number, bus) in (1..).zip(&buses) {
            publish(bus, number, topics, round * EACH..(round + 1) * EACH, || false);
        }
        let all = u64::from((round + 1) * events);
        collectors.iter().for_each(|collector| collector.wait(all));
        heard.wait_long(all as usize * messages_an_event);
    }
    for (host, collector) in hosts.iter().zip(collectors) {
        let seen = collector.seen();
        let expected = (u64::from(2 * events), 0, 0, 0);
        assert_eq!((seen.count(), seen.lost(), seen.repeated(), seen.late()), expected, "{}: {seen:?}", host.name);
    }
    assert_eq!(heard.count(), 2 * events as usize * messages_an_event);
}

fn hosts_that_send_and_take_everything() {
    let servers = Servers::one();
    let client = servers.client();
    let heard = client.listen(">");
    let hosts = [Host::new("a", 1), Host::new("b", 2), Host::new("c", 3)];
    let rules = "[[out]]\ntopics = [\"#\"]\n[[in]]\nsubjects = [\">\"]\n[[in]]\nsubjects = [\"s.>\"]\n\
         [[in]]\nsubjects = [\"s.*\"]\n[[in]]\nsubjects = [\"s.1\", \"t.>\"]\n";
    let _bridges: Vec<_> = hosts.iter().map(|host| Bridge::start(host, &servers, rules)).collect();
    let collectors: Vec<_> = hosts.iter().map(Collector::start).collect();
    round(&hosts, &collectors, &["s/1", "s/2/x", "t"], &heard, 1);
}

fn hosts_that_share_topics_by_prefixes() {
    let servers = Servers::one();
    let client = servers.client();
    let heard = client.listen("site.>");
    let hosts = [Host::new("a", 1), Host::new("b", 2), Host::new("c", 3)];
    let rules =
        "[[out]]\ntopics = [\"#\"]\nprefix = \"site.{host}\"\n[[in]]\nsubjects = [\"site.*.>\"]\nstrip = \"site.*\"\n";
    let _bridges: Vec<_> = hosts.iter().map(|host| Bridge::start(host, &servers, rules)).collect();
    let collectors: Vec<_> = hosts.iter().map(Collector::start).collect();
    round(&hosts, &collectors, &["s/1", "s/2"], &heard, 1);
    let senders = |message: &async_nats::Message| {
        let host = crate::plain::header(message, "Nlbus-Host").unwrap_or_default().to_owned();
        message.subject.starts_with(&format!("site.{host}."))
    };
    assert!(heard.messages().iter().all(senders));
}

fn ring(durable: bool) {
    let servers = Servers::one();
    servers.wait_for_jetstream();
    let client = servers.client();
    let heard = client.listen("*.r.>");
    let hosts = [Host::new("a", 1), Host::new("b", 2), Host::new("c", 3)];
    let ways = [("ab", "ca"), ("bc", "ab"), ("ca", "bc")];
    let stream = if durable { "durable = \"RING\"" } else { "" };
    let start = |(host, (to, from)): (&Host, (&str, &str))| {
        let rules = format!(
            "[[out]]\ntopics = [\"#\"]\nprefix = \"{to}\"\n{stream}\n\
             [[in]]\nsubjects = [\"{from}.>\"]\nstrip = \"{from}\"\nforward = true\n{stream}\n"
        );
        let all = if durable { "[streams.RING]\nsubjects = [\"ab.>\", \"bc.>\", \"ca.>\"]\n" } else { "" };
        Bridge::start(host, &servers, &(rules + all))
    };
    let mut bridges: Vec<_> = hosts.iter().zip(ways).map(start).collect();
    let collectors: Vec<_> = hosts.iter().map(Collector::start).collect();
    // The third hop ends at the host where it was published, and its bridge leaves it.
    round(&hosts, &collectors, &["r/1", "r/2/x"], &heard, 3);
    if durable {
        assert_eq!(client.count_stored("RING"), u64::from(3 * 3 * 2 * EACH));
        for (host, bridge) in hosts.iter().zip(&mut bridges) {
            bridge.kill();
            bridge.start_again(host);
        }
        let bus = hosts[0].connect();
        publish(&bus, 1, &["r/1"], 2 * EACH..2 * EACH + 10, || false);
        collectors.iter().for_each(|collector| collector.wait(u64::from(6 * EACH + 10)));
        assert!(collectors.iter().all(|collector| collector.seen().repeated() == 0));
    }
}

fn a_ring_of_hosts_that_send_on_what_comes_in() {
    ring(false);
}

fn a_ring_of_hosts_that_send_on_what_comes_in_by_streams() {
    ring(true);
}

fn two_bridges_on_a_host_that_send_the_same() {
    const EVENTS: u32 = 3000;
    let servers = Servers::one();
    servers.wait_for_jetstream();
    let client = servers.client();
    let heard = client.listen("live.>");
    let (a, b) = (Host::new("a", 1), Host::new("b", 2));
    let out = "[[out]]\ntopics = [\"live/#\"]\n[[out]]\ntopics = [\"kept/#\"]\ndurable = \"KEPT\"\n";
    let second = Setup { second: true, ..Setup::default() };
    let _one = Bridge::start(&a, &servers, out);
    let mut two = Bridge::start_with(&a, &servers, out, &second);
    two.wait_ready();
    let into = "[[in]]\nsubjects = [\"live.>\"]\n[[in]]\nsubjects = [\"kept.>\"]\ndurable = \"KEPT\"\n";
    let into = Bridge::start(&b, &servers, into);
    let there = Collector::start(&b);
    publish(&a.connect(), 1, &["live/1", "live/2", "kept/1", "kept/2"], 0..EVENTS, || false);
    there.wait(u64::from(EVENTS));
    // Both of each.
    heard.wait_long(EVENTS as usize);
    into.wait_for_metric(&b, "nlbus_nats_in_duplicates_total", u64::from(EVENTS / 2));
    assert_eq!(client.count_stored("KEPT"), u64::from(EVENTS / 2));
    let seen = there.seen();
    assert_eq!((seen.count(), seen.lost(), seen.repeated(), seen.late()), (u64::from(EVENTS), 0, 0, 0), "{seen:?}");
}

//! The result, for people.

use crate::Role;
use crate::report::Received;
use std::fmt::Write;
use std::time::Duration;

/// A subscriber's line.
#[derive(Debug)]
pub struct Row {
    pub role: Role,
    /// Events published to topics that its filter matches.
    pub published: u64,
    pub received: Received,
}

pub fn of_subscribers(rows: &[Row]) -> String {
    let mut table = String::new();
    let header = ["subscriber", "filter", "published", "received", "lost", "out of order", "latency p50", "p99"];
    line(&mut table, header.map(str::to_owned));
    for Row { role, published, received } in rows {
        line(
            &mut table,
            [
                role.name().into(),
                role.filter().into(),
                published.to_string(),
                received.events.to_string(),
                received.lost.to_string(),
                received.out_of_order.to_string(),
                time(received.p50_ns),
                time(received.p99_ns),
            ],
        );
    }
    table
}

fn line(table: &mut String, cells: [String; 8]) {
    let [role, filter, published, received, lost, out_of_order, p50, p99] = cells;
    let _ = writeln!(
        table,
        "{role:<10}  {filter:<18}  {published:>9}  {received:>9}  {lost:>6}  {out_of_order:>12}  {p50:>11}  {p99:>10}"
    );
}

/// Three significant digits, roughly.
fn time(ns: u64) -> String {
    match ns {
        0..1_000_000 => format!("{:.1} µs", ns as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.2} ms", ns as f64 / 1e6),
        _ => format!("{:.2} s", ns as f64 / 1e9),
    }
}

pub fn of_publishers(published: &[(Role, u64)], duration: Duration) -> String {
    let mut table = String::new();
    for role in Role::PUBLISHERS {
        let events = published.iter().find(|(other, _)| *other == role).map_or(0, |(_, events)| *events);
        let what = match role {
            Role::Links => "rtnetlink's word on network links",
            Role::Host => "/proc's figures on load, memory and pressure",
            _ => "values of a type, in batches",
        };
        let rate = events as f64 / duration.as_secs_f64();
        let _ = writeln!(table, "{:<10}  published {events:>7} events, {rate:>7.0}/s: {what}", role.name());
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_fitting_units() {
        assert_eq!(time(1_234), "1.2 µs");
        assert_eq!(time(2_500_000), "2.50 ms");
        assert_eq!(time(3_000_000_000), "3.00 s");
    }

    #[test]
    fn columns_stand_below_each_other() {
        let received = Received { events: 256_000, p50_ns: 48_300, p99_ns: 1_200_000, ..Received::default() };
        let table = of_subscribers(&[Row { role: Role::Typed, published: 256_000, received }]);
        assert_eq!(
            table,
            "subscriber  filter              published   received    lost  out of order  latency p50         p99\n\
             typed       demo/sensor/+/temp     256000     256000       0             0      48.3 µs     1.20 ms\n"
        );
    }
}

//! What nlbus sets itself, and whether it holds: a ratio to a peer's best variant in the same cell.

use crate::figures::{Figure, Measure};
use crate::results::Results;
use crate::systems::{BUFFERED, FLOOR, OURS, UNBUFFERED};
use std::fmt::Write;

/// Whom nlbus is compared with.
#[derive(Debug, Clone, Copy)]
enum Against {
    /// The best variant of a peer.
    Peer(&'static str),
    /// One variant.
    System(&'static str),
    /// The best of all peers.
    Every,
    /// The best of those whose subscribers sleep while nothing comes.
    Sleeping,
}

struct Rule {
    what: &'static str,
    measure: Measure,
    ours: &'static str,
    against: Against,
    /// Of more-is-better at least this many times as much, of less-is-better at most; 1 means strictly better.
    factor: f64,
    size: usize,
    subs: usize,
}

const LATENCY_SIZE: usize = 64;

fn rules(results: &Results) -> Vec<Rule> {
    let throughput = |what, ours, against, factor, size, subs| Rule {
        what,
        measure: Measure::Deliveries,
        ours,
        against,
        factor,
        size,
        subs,
    };
    let buffered = "buffered publisher, throughput";
    let mut rules = vec![
        throughput(buffered, BUFFERED, Against::Peer("ZeroMQ"), 5.0, 64, 1),
        throughput(buffered, BUFFERED, Against::Peer("NATS"), 12.0, 64, 1),
        throughput(buffered, BUFFERED, Against::Peer("D-Bus"), 80.0, 64, 1),
        throughput(buffered, BUFFERED, Against::System("iceoryx2-bell32"), 5.0, 64, 1),
        throughput(buffered, BUFFERED, Against::Sleeping, 8.0, 64, 4),
        throughput(buffered, BUFFERED, Against::Sleeping, 8.0, 64, 16),
        throughput(buffered, BUFFERED, Against::Every, 1.0, 1024, 1),
        throughput(buffered, BUFFERED, Against::Every, 1.5, 1024, 4),
    ];
    for size in results.sizes() {
        for subs in results.subs().into_iter().filter(|subs| *subs >= 4) {
            rules.push(throughput("publish, throughput", UNBUFFERED, Against::Every, 1.0, size, subs));
        }
    }
    let latency = |against, factor| Rule {
        what: "publish, latency p50",
        measure: Measure::P50,
        ours: UNBUFFERED,
        against,
        factor,
        size: LATENCY_SIZE,
        subs: 1,
    };
    for peer in ["D-Bus", "Redis", "mosquitto", "NATS", "ZeroMQ", "nng", "zenoh"] {
        rules.push(latency(Against::Peer(peer), 1.0));
    }
    rules.push(latency(Against::System("two-hop"), 1.25));
    for (what, ours) in [("buffered publisher, CPU", BUFFERED), ("publish, CPU", UNBUFFERED)] {
        for size in results.sizes() {
            for subs in results.subs() {
                let (measure, against) = (Measure::Cpu, Against::Every);
                rules.push(Rule { what, measure, ours, against, factor: 1.0, size, subs });
            }
        }
    }
    rules
}

/// The verdict on a rule.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Pass,
    Short,
    Unknown,
}

/// The best of those that a rule compares with, in its cell.
fn best<'a>(results: &'a Results, rule: &Rule) -> Option<(&'a str, Figure)> {
    let is = |system: &&crate::results::About| match rule.against {
        Against::Peer(peer) => system.peer == peer,
        Against::System(name) => system.name == name,
        Against::Every => ![OURS, FLOOR].contains(&system.peer.as_str()),
        Against::Sleeping => ![OURS, FLOOR].contains(&system.peer.as_str()) && system.sleeps,
    };
    let figures = results.systems.iter().filter(is).filter_map(|system| {
        Some((system.name.as_str(), results.figure(&system.name, rule.measure, rule.size, rule.subs)?))
    });
    let sign = if rule.measure.more_is_better() { 1.0 } else { -1.0 };
    figures.max_by(|(_, a), (_, b)| (a.median * sign).total_cmp(&(b.median * sign)))
}

/// A ratio, and what it means.
fn judge(rule: &Rule, ours: Option<Figure>, theirs: Option<Figure>) -> (f64, Verdict) {
    let (Some(ours), Some(theirs)) = (ours, theirs) else { return (f64::NAN, Verdict::Unknown) };
    let ratio = ours.median / theirs.median;
    let holds = match (rule.measure.more_is_better(), rule.factor == 1.0) {
        (true, true) => ratio > 1.0,
        (true, false) => ratio >= rule.factor,
        (false, true) => ratio < 1.0,
        (false, false) => ratio <= rule.factor,
    };
    (ratio, if holds { Verdict::Pass } else { Verdict::Short })
}

/// The table of all rules.
pub fn markdown(results: &Results) -> String {
    let mut text = String::from("What nlbus sets itself, of medians:\n\n");
    let _ = writeln!(
        text,
        "| nlbus ({BUFFERED}, {UNBUFFERED}) | cell | against | wanted | measured | |\n|---|---|---|---|---|---|"
    );
    let (mut held, mut all) = (0, 0);
    for rule in rules(results) {
        let ours = results.figure(rule.ours, rule.measure, rule.size, rule.subs);
        let theirs = best(results, &rule);
        let (ratio, verdict) = judge(&rule, ours, theirs.map(|(_, figure)| figure));
        let sign = if rule.measure.more_is_better() { ["more than", "≥"] } else { ["less than", "≤"] };
        let wanted =
            if rule.factor == 1.0 { format!("{} 1×", sign[0]) } else { format!("{} {}×", sign[1], rule.factor) };
        let star = [ours, theirs.map(|(_, figure)| figure)].iter().flatten().any(|figure| figure.contaminated);
        let measured = match verdict {
            Verdict::Unknown => "–".to_owned(),
            _ => format!("{ratio:.2}×{}", if star { "*" } else { "" }),
        };
        let (against, best) = match (rule.against, theirs) {
            (Against::Every, Some((name, _))) => ("every peer; best", name),
            (Against::Every, None) => ("every peer", ""),
            (Against::Sleeping, Some((name, _))) => ("every peer that sleeps; best", name),
            (Against::Sleeping, None) => ("every peer that sleeps", ""),
            (Against::Peer(peer), Some((name, _))) if !name.eq_ignore_ascii_case(peer) => (peer, name),
            (Against::Peer(name) | Against::System(name), _) => (name, ""),
        };
        let separator = if best.is_empty() { "" } else { ": " };
        let word = match verdict {
            Verdict::Pass => "pass",
            Verdict::Short => "**falls short**",
            Verdict::Unknown => "not measured",
        };
        let (what, size, subs) = (rule.what, rule.size, rule.subs);
        let _ = writeln!(
            text,
            "| {what} | {size} B, {subs} | {against}{separator}{best} | {wanted} | {measured} | {word} |"
        );
        all += usize::from(verdict != Verdict::Unknown);
        held += usize::from(verdict == Verdict::Pass);
    }
    let _ = writeln!(text, "\n{held} of {all} hold.");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_holds_where_it_says() {
        let figure = |median| Some(Figure { median, min: median, max: median, contaminated: false });
        let rule = |measure, factor| Rule {
            what: "",
            measure,
            ours: UNBUFFERED,
            against: Against::Every,
            factor,
            size: 64,
            subs: 1,
        };
        let verdict = |rule: Rule, ours, theirs| judge(&rule, figure(ours), figure(theirs)).1;
        assert_eq!(verdict(rule(Measure::Deliveries, 5.0), 10.0, 2.0), Verdict::Pass);
        assert_eq!(verdict(rule(Measure::Deliveries, 5.0), 9.9, 2.0), Verdict::Short);
        assert_eq!(verdict(rule(Measure::Deliveries, 1.0), 2.0, 2.0), Verdict::Short);
        assert_eq!(verdict(rule(Measure::Cpu, 1.0), 1.0, 2.0), Verdict::Pass);
        assert_eq!(verdict(rule(Measure::P50, 1.25), 2.5, 2.0), Verdict::Pass);
        assert_eq!(verdict(rule(Measure::P50, 1.25), 2.6, 2.0), Verdict::Short);
        assert_eq!(judge(&rule(Measure::P50, 1.0), None, figure(1.0)).1, Verdict::Unknown);
    }
}

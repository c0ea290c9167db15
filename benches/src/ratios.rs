//! What nlbus sets itself, and whether it holds: a ratio to a peer's best variant in the same cell.

use crate::figures::{ENOUGH, Figure, Measure};
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

/// Whether a rule holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holds {
    /// Our worst run against their best one.
    InAllRuns,
    /// Our median against theirs.
    ByMedian,
    No,
}

/// What is to be said of a rule.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Verdict {
    /// Of the medians, ours to theirs.
    ratio: f64,
    holds: Holds,
    /// Clean runs of the side that has fewer.
    clean: usize,
}

/// Those that a rule compares with, in its cell: name and figure.
fn compared<'a>(results: &'a Results, rule: &Rule) -> Vec<(&'a str, Figure)> {
    let is = |system: &&crate::results::About| match rule.against {
        Against::Peer(peer) => system.peer == peer,
        Against::System(name) => system.name == name,
        Against::Every => ![OURS, FLOOR].contains(&system.peer.as_str()),
        Against::Sleeping => ![OURS, FLOOR].contains(&system.peer.as_str()) && system.sleeps,
    };
    let figures = results.systems.iter().filter(is).filter_map(|system| {
        Some((system.name.as_str(), results.figure(&system.name, rule.measure, rule.size, rule.subs)?))
    });
    figures.collect()
}

/// The one of the best median, and the best single run of any of them.
fn best<'a>(compared: &[(&'a str, Figure)], measure: Measure) -> Option<(&'a str, Figure, f64)> {
    let by_median = |(_, a): &&(&str, Figure), (_, b): &&(&str, Figure)| a.median.total_cmp(&b.median);
    let runs = compared.iter().map(|(_, figure)| figure);
    let ((name, figure), run) = if measure.more_is_better() {
        (compared.iter().max_by(by_median)?, runs.map(|figure| figure.max).fold(f64::MIN, f64::max))
    } else {
        (compared.iter().min_by(by_median)?, runs.map(|figure| figure.min).fold(f64::MAX, f64::min))
    };
    Some((name, *figure, run))
}

/// Judges by our figure, by that of the best of theirs, and by their best single run.
fn judge(rule: &Rule, ours: Figure, theirs: Figure, best_run: f64) -> Verdict {
    let holds = |ratio: f64| match (rule.measure.more_is_better(), rule.factor == 1.0) {
        (true, true) => ratio > 1.0,
        (true, false) => ratio >= rule.factor,
        (false, true) => ratio < 1.0,
        (false, false) => ratio <= rule.factor,
    };
    let worst = if rule.measure.more_is_better() { ours.min } else { ours.max };
    let ratio = ours.median / theirs.median;
    let holds = match (holds(ratio), holds(worst / best_run)) {
        (false, _) => Holds::No,
        (true, true) => Holds::InAllRuns,
        (true, false) => Holds::ByMedian,
    };
    Verdict { ratio, holds, clean: ours.clean().min(theirs.clean()) }
}

impl Verdict {
    fn words(&self) -> String {
        let word = match self.holds {
            Holds::InAllRuns => "pass, in all runs",
            Holds::ByMedian => "pass, by medians",
            Holds::No => "**falls short**",
        };
        match self.clean {
            clean if clean >= ENOUGH => word.into(),
            clean => {
                let word = if self.holds == Holds::No { word } else { "open: would pass" };
                format!("{word}, but rests on {clean} clean run{}", if clean == 1 { "" } else { "s" })
            }
        }
    }
}

/// How many of the verdicts are of a kind.
#[derive(Debug, Default)]
struct Tally {
    all: usize,
    held: usize,
    in_all_runs: usize,
    open: usize,
}

impl Tally {
    fn count(&mut self, verdict: &Verdict) {
        let holds = verdict.holds != Holds::No;
        let enough = verdict.clean >= ENOUGH;
        self.all += 1;
        self.held += usize::from(holds && enough);
        self.in_all_runs += usize::from(verdict.holds == Holds::InAllRuns && enough);
        self.open += usize::from(holds && !enough);
    }
}

/// The table of all rules.
pub fn markdown(results: &Results) -> String {
    let mut text = String::from(
        "What nlbus sets itself, of medians. In all runs: our worst run against the best one of any variant compared with. A \
         pass that rests on fewer than two clean runs is none. †: runs that don't count, of either side.\n\n",
    );
    let _ = writeln!(
        text,
        "| nlbus ({BUFFERED}, {UNBUFFERED}) | cell | against | wanted | measured | |\n|---|---|---|---|---|---|"
    );
    let mut tally = Tally::default();
    for rule in rules(results) {
        let ours = results.figure(rule.ours, rule.measure, rule.size, rule.subs);
        let theirs = best(&compared(results, &rule), rule.measure);
        let sign = if rule.measure.more_is_better() { ["more than", "≥"] } else { ["less than", "≤"] };
        let wanted =
            if rule.factor == 1.0 { format!("{} 1×", sign[0]) } else { format!("{} {}×", sign[1], rule.factor) };
        let (measured, words) = match (ours, theirs) {
            (Some(ours), Some((_, theirs, best_run))) => {
                let verdict = judge(&rule, ours, theirs, best_run);
                tally.count(&verdict);
                let star = if ours.contaminated || theirs.contaminated { "*" } else { "" };
                let dagger = crate::table::dagger(ours.lost + theirs.lost);
                (format!("{:.2}×{star}{dagger}", verdict.ratio), verdict.words())
            }
            _ => ("–".into(), "not measured".into()),
        };
        let (against, best) = match (rule.against, theirs) {
            (Against::Every, Some((name, ..))) => ("every peer; best", name),
            (Against::Every, None) => ("every peer", ""),
            (Against::Sleeping, Some((name, ..))) => ("every peer that sleeps; best", name),
            (Against::Sleeping, None) => ("every peer that sleeps", ""),
            (Against::Peer(peer), Some((name, ..))) if !name.eq_ignore_ascii_case(peer) => (peer, name),
            (Against::Peer(name) | Against::System(name), _) => (name, ""),
        };
        let separator = if best.is_empty() { "" } else { ": " };
        let (what, size, subs) = (rule.what, rule.size, rule.subs);
        let _ = writeln!(
            text,
            "| {what} | {size} B, {subs} | {against}{separator}{best} | {wanted} | {measured} | {words} |"
        );
    }
    let Tally { all, held, in_all_runs, open } = tally;
    let _ = write!(text, "\n{held} of {all} hold, {in_all_runs} of them in all runs.");
    if open > 0 {
        let _ = write!(text, " {open} more would, but rest on fewer than {ENOUGH} clean runs.");
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: Figure = Figure { median: 0.0, min: 0.0, max: 0.0, runs: 3, contaminated: false, lost: 0 };

    fn rule(measure: Measure, factor: f64) -> Rule {
        Rule { what: "", measure, ours: UNBUFFERED, against: Against::Every, factor, size: 64, subs: 1 }
    }

    #[test]
    fn a_ratio_holds_where_it_says() {
        let figure = |median| Figure { median, min: median, max: median, ..BASE };
        let holds = |measure, factor, ours, theirs| {
            judge(&rule(measure, factor), figure(ours), figure(theirs), theirs).holds != Holds::No
        };
        assert!(holds(Measure::Deliveries, 5.0, 10.0, 2.0));
        assert!(!holds(Measure::Deliveries, 5.0, 9.9, 2.0));
        assert!(!holds(Measure::Deliveries, 1.0, 2.0, 2.0));
        assert!(holds(Measure::Cpu, 1.0, 1.0, 2.0));
        assert!(holds(Measure::P50, 1.25, 2.5, 2.0));
        assert!(!holds(Measure::P50, 1.25, 2.6, 2.0));
    }

    #[test]
    fn in_all_runs_is_our_worst_one_against_the_best_of_theirs() {
        let verdict = |measure, ours: [f64; 3], theirs: [[f64; 3]; 2]| {
            let figure = |[min, median, max]: [f64; 3]| Figure { median, min, max, ..BASE };
            let theirs = theirs.map(|of| ("", figure(of)));
            let (_, figure_of_best, run) = best(&theirs, measure).unwrap();
            judge(&rule(measure, 1.0), figure(ours), figure_of_best, run).holds
        };
        let slow = [1.0, 2.0, 3.0];
        assert_eq!(verdict(Measure::Deliveries, [5.0, 6.0, 7.0], [slow, [2.0, 3.0, 4.9]]), Holds::InAllRuns);
        assert_eq!(verdict(Measure::Deliveries, [5.0, 6.0, 7.0], [slow, [2.0, 3.0, 5.1]]), Holds::ByMedian);
        // The best run needn't be of the variant that is best by its median.
        assert_eq!(verdict(Measure::Deliveries, [5.0, 6.0, 7.0], [[1.0, 2.0, 5.1], [2.0, 3.0, 4.0]]), Holds::ByMedian);
        assert_eq!(verdict(Measure::Cpu, [0.1, 0.5, 0.9], [slow, slow]), Holds::InAllRuns);
        assert_eq!(verdict(Measure::Cpu, [0.1, 0.5, 1.1], [slow, slow]), Holds::ByMedian);
        assert_eq!(verdict(Measure::Cpu, [0.1, 2.5, 3.1], [slow, slow]), Holds::No);
    }

    #[test]
    fn a_pass_that_rests_on_one_clean_run_is_none() {
        let (ours, theirs) = (Figure { median: 3.0, min: 3.0, max: 3.0, ..BASE }, Figure { median: 1.0, ..BASE });
        let rule = rule(Measure::Deliveries, 2.0);
        let mut tally = Tally::default();
        let mut words = |ours, theirs| {
            let verdict = judge(&rule, ours, theirs, 1.0);
            tally.count(&verdict);
            verdict.words()
        };
        assert_eq!(words(ours, theirs), "pass, in all runs");
        assert_eq!(words(ours, Figure { runs: 1, ..theirs }), "open: would pass, but rests on 1 clean run");
        let contaminated = Figure { contaminated: true, ..ours };
        assert_eq!(words(contaminated, theirs), "open: would pass, but rests on 0 clean runs");
        let slow = Figure { median: 1.0, runs: 1, ..ours };
        assert_eq!(words(slow, theirs), "**falls short**, but rests on 1 clean run");
        let Tally { all, held, in_all_runs, open } = tally;
        assert_eq!((all, held, in_all_runs, open), (4, 1, 1, 2));
    }
}

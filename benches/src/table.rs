//! The figures as Markdown.

use crate::figures::{Figure, Measure};
use crate::results::{Kind, Results};
use std::fmt::Write;

/// All tables of a run but the ratios'.
pub fn markdown(results: &Results) -> String {
    let mut text = String::new();
    let host = &results.host;
    let _ = writeln!(
        text,
        "{}, {} cores, Linux {}; commit {}; {} rounds of {} s a run; {}. Medians; in parentheses the least and the \
         most, and on how many runs they rest. `*`: others used more than {:.0} % of the machine in all of them. †: how many \
         runs more don't count, see below. –: not measured.\n",
        host.processor,
        host.cores,
        host.kernel,
        if host.commit.is_empty() { "unknown" } else { &host.commit },
        results.rounds,
        results.seconds,
        host.buffers,
        crate::results::FOREIGN * 100.0
    );
    latency(results, &mut text);
    for size in results.sizes() {
        let _ = writeln!(
            text,
            "Payload of {size} B: deliveries/s over all subscribers, and CPU seconds for a million of them.\n"
        );
        grid(results, &mut text, size);
    }
    notes(results, &mut text);
    text
}

fn latency(results: &Results, text: &mut String) {
    let Some(cell) = results.cells.iter().find(|cell| cell.kind == Kind::Latency) else { return };
    let events = cell.runs.iter().filter_map(|run| run.latency.as_ref()).map(|latency| latency.events).max();
    let _ = writeln!(
        text,
        "Latency in µs at 2000 events/s of {} B, one subscriber, {} events a run. p99.9 is that of the events of all runs \
         together; in parentheses those of the runs.\n",
        cell.size,
        events.unwrap_or_default()
    );
    let _ = writeln!(text, "| system | p50 | p99 | p99.9 |\n|---|---|---|---|");
    for system in present(results) {
        let of = |measure| show(results, system, measure, cell.size, cell.subs, |ns| format!("{:.1}", ns / 1e3));
        let _ = writeln!(text, "| {system} | {} | {} | {} |", of(Measure::P50), of(Measure::P99), of(Measure::P999));
    }
    text.push('\n');
}

fn grid(results: &Results, text: &mut String, size: usize) {
    let subs = results.subs();
    let _ = write!(text, "| system |");
    for n in &subs {
        let _ = write!(text, " {n} sub{} |", if *n == 1 { "" } else { "s" });
    }
    for n in &subs {
        let _ = write!(text, " CPU, {n} |");
    }
    let _ = writeln!(text, "\n|---|{}", "---|".repeat(subs.len() * 2));
    for system in present(results) {
        let _ = write!(text, "| {system} |");
        for &n in &subs {
            let _ = write!(text, " {} |", show(results, system, Measure::Deliveries, size, n, count));
        }
        for &n in &subs {
            // The spread of this one would make the table too wide; results.json has it.
            let cpu =
                results.figure(system, Measure::Cpu, size, n).map_or("–".into(), |figure| seconds(figure.median));
            let _ = write!(text, " {cpu} |");
        }
        text.push('\n');
    }
    text.push('\n');
}

/// What each system is, and what can't be told in a cell.
fn notes(results: &Results, text: &mut String) {
    let _ = writeln!(text, "| system | how |\n|---|---|");
    for system in &results.systems {
        match &system.absent {
            None => drop(writeln!(text, "| {} | {} |", system.name, system.about)),
            Some(reason) => drop(writeln!(text, "| {} | absent: {} |", system.name, cell(reason))),
        }
    }
    text.push('\n');
    let mut first = true;
    for failed in results.cells.iter().filter(|cell| cell.runs.iter().any(|run| run.lost.is_some())) {
        if std::mem::take(&mut first) {
            let _ = writeln!(text, "† Runs that don't count:\n");
        }
        let lost: Vec<&String> = failed.runs.iter().filter_map(|run| run.lost.as_ref()).collect();
        let kind = if failed.kind == Kind::Latency { "latency, " } else { "" };
        let reason = lost.first().map_or("", |reason| reason.as_str());
        let (name, size, subs) = (&failed.system, failed.size, failed.subs);
        let _ = writeln!(
            text,
            "- {name}, {kind}{size} B, {subs} subscribers: {} of {}: {}",
            lost.len(),
            failed.runs.len(),
            cell(reason)
        );
    }
    if !first {
        text.push('\n');
    }
}

fn present(results: &Results) -> impl Iterator<Item = &str> {
    results.systems.iter().filter(|system| system.absent.is_none()).map(|system| system.name.as_str())
}

fn show(
    results: &Results,
    system: &str,
    measure: Measure,
    size: usize,
    subs: usize,
    write: impl Fn(f64) -> String,
) -> String {
    let Some(cell) = results.cell(system, measure.kind(), size, subs) else { return "–".into() };
    match results.figure(system, measure, size, subs) {
        Some(figure) => with_spread(&figure, write),
        None => dagger(cell.runs.len()).trim_start().into(),
    }
}

/// A figure with its spread and the number of runs that it rests on.
pub fn with_spread(figure: &Figure, write: impl Fn(f64) -> String) -> String {
    let Figure { median, min, max, runs, contaminated, lost } = *figure;
    let star = if contaminated { "*" } else { "" };
    let spread = if runs > 1 { format!("{}–{}; {runs}", write(min), write(max)) } else { "1".into() };
    format!("{}{star} ({spread}){}", write(median), dagger(lost))
}

/// The mark of a figure beside which there are runs that don't count, and how many.
pub fn dagger(lost: usize) -> String {
    if lost == 0 { String::new() } else { format!(" †{lost}") }
}

/// "1.23 M".
pub fn count(number: f64) -> String {
    match number {
        n if n >= 1e7 => format!("{:.1} M", n / 1e6),
        n if n >= 1e6 => format!("{:.2} M", n / 1e6),
        n if n >= 1e4 => format!("{:.0} k", n / 1e3),
        n if n >= 1e3 => format!("{:.1} k", n / 1e3),
        n => format!("{n:.0}"),
    }
}

/// Three digits.
fn seconds(seconds: f64) -> String {
    match seconds {
        s if s >= 10.0 => format!("{s:.1}"),
        s if s >= 1.0 => format!("{s:.2}"),
        s => format!("{s:.3}"),
    }
}

/// Text for a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ").chars().take(200).collect()
}

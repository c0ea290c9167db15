//! What the processes of the demo say to each other: lines of JSON on the pipes of standard input and output.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{self, BufRead, Write};

/// From a child to the director.
#[derive(Debug, Serialize, Deserialize)]
pub enum Report {
    /// A subscriber can miss nothing any more.
    Subscribed,
    /// A publisher is done: events published.
    Published(u64),
    /// A subscriber has everything.
    Received(Received),
}

/// What a subscriber got.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Received {
    /// Events.
    pub events: u64,
    /// Events reported as lost.
    pub lost: u64,
    /// Events that neither came nor were reported.
    pub missing: u64,
    /// Events that came after a later one of their topic, or twice.
    pub out_of_order: u64,
    /// Payloads that weren't what the topic promises.
    pub undecodable: u64,
    /// Restarts of the broker.
    pub restarts: u64,
    /// Latency from being sequenced to being received: median, ns.
    pub p50_ns: u64,
    /// The one that 1 % exceed, ns.
    pub p99_ns: u64,
}

/// From the director to a subscriber: by topic, the newest sequence number before anything was published, and after.
pub type Heads = BTreeMap<String, (u64, u64)>;

/// Writes a line.
pub fn say(mut out: impl Write, message: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    out.write_all(&line)?;
    out.flush()
}

/// Reads a line; `None` at the end.
pub fn hear<T: DeserializeOwned>(input: &mut impl BufRead) -> io::Result<Option<T>> {
    let mut line = String::new();
    match input.read_line(&mut line)? {
        0 => Ok(None),
        _ => Ok(Some(serde_json::from_str(&line)?)),
    }
}

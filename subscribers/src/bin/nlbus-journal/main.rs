//! `nlbus-journal`: events in the systemd journal, with fields, so that `journalctl NLBUS_TOPIC=…` finds them.

mod native;

use clap::Parser;
use native::{Entry, Journal};
use nlbus::{Delivery, Event, Start};
use nlbus_subscribers::end::End;
use nlbus_subscribers::event_json::content_name;
use nlbus_subscribers::feed::{self, DRAIN, Feed, Item, Next, Sink};
use nlbus_subscribers::service::{self, Connection, Service};
use nlbus_subscribers::text::Escaped;
use nlbus_subscribers::topics::{Topics, check_start};
use nlbus_subscribers::values;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};
use tracing::{info, warn};

/// How long to wait before trying again, where there is no journal.
const RETRY: Duration = Duration::from_millis(200);

/// The same where there is one that has no room: poll(2) doesn't tell of that, for the socket is not connected.
const ROOM: Duration = Duration::from_millis(5);

/// Write events to the systemd journal.
#[derive(Debug, Parser)]
#[command(name = env!("CARGO_BIN_NAME"), version, after_help = AFTER_HELP)]
struct Args {
    #[command(flatten)]
    topics: Topics,
    /// Priority of events: emerg, alert, crit, err, warning, notice, info, debug, or 0 to 7.
    #[arg(long, value_name = "LEVEL", default_value = "info", value_parser = priority)]
    priority: u8,
    /// SYSLOG_IDENTIFIER of all entries.
    #[arg(long, value_name = "NAME", default_value = "nlbus")]
    identifier: String,
    /// Where to begin: live, last, last=N, seq=N or all.
    #[arg(long, value_name = "START", default_value = "live", value_parser = values::start)]
    start: Start,
    /// The journal's socket.
    #[arg(long, value_name = "PATH", default_value = native::SOCKET)]
    socket: PathBuf,
    #[command(flatten)]
    connection: Connection,
}

const AFTER_HELP: &str = "\
Fields of an event: MESSAGE is its payload, with what isn't text escaped; then NLBUS_PAYLOAD has its bytes.
  NLBUS_TOPIC, NLBUS_SEQ, NLBUS_TIME_NS, NLBUS_ORIGIN (kernel or user), NLBUS_PORTID, NLBUS_PID, NLBUS_UID,
  NLBUS_CONTENT (text, json, bincode or opaque)
Of a loss, a warning: NLBUS_TOPIC, NLBUS_LOST_FROM, NLBUS_LOST_TO, NLBUS_LOST_CAUSE. Of a restart of the broker, a
warning: NLBUS_RESTARTED_EPOCH. While there is no journal, events wait in the broker's history.

Examples:
  nlbus-journal 'alarms/#' --priority warning
  journalctl -o json NLBUS_TOPIC=alarms/door

Environment: NLBUS_LOG is the level of this program's own log, like debug or warn [default: info]";

fn priority(text: &str) -> Result<u8, String> {
    const NAMES: [&str; 8] = ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"];
    let named = NAMES.iter().position(|name| *name == text);
    let level = named.or_else(|| text.parse().ok().filter(|level| *level < NAMES.len()));
    level.map(|level| level as u8).ok_or_else(|| format!("takes {} or 0 to 7", NAMES.join(", ")))
}

fn main() -> ExitCode {
    service::main(run)
}

fn run(args: Args, service: &Service) -> Result<(), End> {
    check_start(args.start, &args.topics.filters)?;
    let journal = Journal::new(&args.socket).map_err(|error| End::Failed(format!("can't make a socket: {error}")))?;
    if !journal.is_there() {
        let socket = args.socket.display();
        let remedy = "is systemd-journald running? Start it, or choose another --socket";
        return Err(End::Failed(format!("no journal listens at {socket}; {remedy}")));
    }
    let bus = service.connect(&args.connection)?;
    let feed = Feed::open(&bus, &args.topics, |_, subscriber| subscriber.start(args.start))?;
    service.ready();
    let mut writer = Writer { args: &args, journal, feed, service, deadline: None };
    loop {
        match writer.feed.wait(service.stop(), None)? {
            Next::Deliveries(items) => writer.write(&items)?,
            Next::TimedOut => {}
            Next::Stopped => break,
        }
    }
    feed::drain(&bus, &mut writer)
}

struct Writer<'a> {
    args: &'a Args,
    journal: Journal,
    feed: Feed,
    service: &'a Service,
    /// No longer than that, once the program is to end.
    deadline: Option<Instant>,
}

impl Sink for Writer<'_> {
    fn feed(&mut self) -> &mut Feed {
        &mut self.feed
    }

    fn write(&mut self, items: &[Item]) -> Result<(), End> {
        for item in items {
            if item.wanted
                && let Some(entry) = self.entry(&item.delivery)
            {
                self.send(&entry)?;
            }
            self.feed.passed(item);
        }
        Ok(())
    }
}

impl Writer<'_> {
    /// Sends an entry, once there is a journal to take it.
    fn send(&mut self, entry: &Entry) -> Result<(), End> {
        let mut absent = false;
        loop {
            match self.journal.send(entry) {
                Ok(()) => {
                    if absent {
                        info!("the journal is back");
                    }
                    return Ok(());
                }
                Err(error) if matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::NotFound) => {
                    if !absent {
                        warn!("the journal is away: {error}; waiting for it");
                    }
                    absent = true;
                    self.service.sleep(RETRY).inspect_err(|_| warn!("ending without the newest events"))?;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.wait_for_room()?,
                Err(error) => {
                    let socket = self.args.socket.display();
                    return Err(End::Failed(format!("can't write to the journal at {socket}: {error}")));
                }
            }
        }
    }

    /// Waits a little for a journal that is behind: as long as it takes, but at the end only for so long.
    fn wait_for_room(&mut self) -> Result<(), End> {
        if self.service.is_stopped() {
            let deadline = *self.deadline.get_or_insert_with(|| Instant::now() + DRAIN);
            if Instant::now() >= deadline {
                warn!("ending without the newest events: the journal doesn't read");
                return Err(End::Interrupted);
            }
            thread::sleep(ROOM);
        } else {
            // If it is to end meanwhile, that is seen the next time.
            let _ = self.service.sleep(ROOM);
        }
        Ok(())
    }

    fn entry(&self, delivery: &Delivery) -> Option<Entry> {
        let mut entry = match delivery {
            Delivery::Event(event) => of_event(event, self.args.priority),
            Delivery::Lost(lost) => {
                let (count, cause) = (lost.count(), lost.cause.as_str());
                let topic = Escaped::text(lost.topic.as_bytes());
                let text = format!("lost {count} of '{topic}', {} to {}: {cause}", lost.from, lost.to);
                let mut entry = Entry::new(WARNING, text.as_bytes());
                entry.field("NLBUS_TOPIC", &lost.topic);
                entry.field("NLBUS_LOST_FROM", &lost.from);
                entry.field("NLBUS_LOST_TO", &lost.to);
                entry.field("NLBUS_LOST_CAUSE", &cause);
                entry
            }
            Delivery::Ended(ended) => {
                let topic = Escaped::text(ended.topic.as_bytes());
                let text = format!("topic '{topic}' ended after {}: {}", ended.last, ended.reason.as_str());
                let mut entry = Entry::new(NOTICE, text.as_bytes());
                entry.field("NLBUS_TOPIC", &ended.topic);
                entry.field("NLBUS_ENDED_REASON", &ended.reason.as_str());
                entry
            }
            Delivery::Restarted(restarted) => {
                let mut entry = Entry::new(WARNING, b"the broker restarted; events may be lost");
                entry.field("NLBUS_RESTARTED_EPOCH", &restarted.epoch);
                entry
            }
            _ => return None,
        };
        entry.field("SYSLOG_IDENTIFIER", &self.args.identifier);
        Some(entry)
    }
}

/// Priority of what went wrong, and of what is only worth knowing.
const WARNING: u8 = 4;
const NOTICE: u8 = 5;

fn of_event(event: &Event, priority: u8) -> Entry {
    let payload = event.payload();
    // Text that journalctl shows as it is: it calls anything with control characters a blob.
    let plain =
        str::from_utf8(payload).is_ok_and(|text| !text.chars().any(|c| c.is_control() && c != '\n' && c != '\t'));
    let mut entry = if plain {
        Entry::new(priority, payload)
    } else {
        let mut entry = Entry::new(priority, Escaped::text(payload).to_string().as_bytes());
        entry.bytes("NLBUS_PAYLOAD", payload);
        entry
    };
    let sender = event.sender();
    entry.field("NLBUS_TOPIC", &event.topic());
    entry.field("NLBUS_SEQ", &event.seq());
    entry.field("NLBUS_TIME_NS", &event.time_ns());
    entry.field("NLBUS_ORIGIN", &if sender.kernel { "kernel" } else { "user" });
    entry.field("NLBUS_PORTID", &sender.portid);
    entry.field("NLBUS_PID", &sender.pid);
    entry.field("NLBUS_UID", &sender.uid);
    entry.field("NLBUS_CONTENT", &content_name(event.content()));
    entry
}

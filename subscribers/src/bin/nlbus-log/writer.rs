//! From the bus into the file: each event once, and the position never ahead of what is on disk.

use crate::file::LogFile;
use crate::state::State;
use crate::{Args, failed};
use nlbus::{Bus, Delivery};
use nlbus_subscribers::end::End;
use nlbus_subscribers::event_json::{EventJson, NoteJson};
use nlbus_subscribers::feed::{self, Feed, Item, Next, Sink};
use nlbus_subscribers::service::Service;
use nlbus_subscribers::text::Escaped;
use std::time::{Duration, Instant};
use tracing::{info, warn};

/// How often to look whether SIGHUP came, where nothing else happens.
const LOOK: Duration = Duration::from_millis(500);

/// The log while it is written.
pub struct Writer<'a> {
    args: &'a Args,
    bus: Bus,
    feed: Feed,
    file: LogFile,
    state: Option<State>,
    synced: Instant,
    /// Something was written, or has moved on, since.
    dirty: bool,
}

impl<'a> Writer<'a> {
    /// Keeps the position that it begins at: from here on nothing is missed, whatever ends this program.
    ///
    /// # Errors
    /// When that fails.
    pub fn begin(args: &'a Args, bus: Bus, feed: Feed, file: LogFile, state: Option<State>) -> Result<Writer<'a>, End> {
        let mut writer = Writer { args, bus, feed, file, state, synced: Instant::now(), dirty: true };
        writer.sync()?;
        Ok(writer)
    }

    /// Writes until the program is to end.
    ///
    /// # Errors
    /// When the log or the position can't be written, or the connection has ended.
    pub fn run(mut self, service: &Service) -> Result<(), End> {
        let end = self.until_stopped(service);
        // Whatever ended it, what was written stays, and the position says where it ends. Where that was a write, lines
        // are missing: then the position that was kept last stays, too, and they come again the next time.
        let saved = self.sync();
        end.and(saved)
    }

    fn until_stopped(&mut self, service: &Service) -> Result<(), End> {
        loop {
            let deliveries = match self.feed.take()? {
                Some(deliveries) => deliveries,
                None => {
                    self.flush()?;
                    match self.feed.wait(service.stop(), Some(self.wake_up()))? {
                        Next::Deliveries(deliveries) => deliveries,
                        Next::TimedOut => Vec::new(),
                        Next::Stopped => return feed::drain(&self.bus.clone(), self),
                    }
                }
            };
            self.write(&deliveries)?;
            if service.is_stopped() {
                return feed::drain(&self.bus.clone(), self);
            }
            if service.is_to_reopen() {
                self.reopen()?;
            }
            if self.file.is_old() {
                self.rotate()?;
            }
            if self.synced.elapsed() >= self.args.sync {
                self.sync()?;
            }
        }
    }

    /// When there is something to do though nothing comes.
    fn wake_up(&self) -> Instant {
        let now = Instant::now();
        let sync = self.dirty.then(|| self.synced + self.args.sync);
        [Some(now + LOOK), sync, self.file.old_at()].into_iter().flatten().min().unwrap_or(now)
    }

    fn write_line(&mut self, line: serde_json::Result<Vec<u8>>) -> Result<(), End> {
        let mut line = line.map_err(|error| End::Failed(format!("can't write an event as JSON: {error}")))?;
        line.push(b'\n');
        // Twice, if another file has taken the place of one that was moved.
        while !self.file.has_room(line.len()) {
            self.rotate()?;
        }
        self.file.push(&line).map_err(|error| failed(self.args, "write to", &error))
    }

    fn flush(&mut self) -> Result<(), End> {
        self.file.flush().map_err(|error| failed(self.args, "write to", &error))
    }

    fn sync(&mut self) -> Result<(), End> {
        self.synced = Instant::now();
        if self.dirty {
            self.file.sync().map_err(|error| failed(self.args, "write to", &error))?;
            if let Some(state) = &self.state {
                state.save(&self.file, &self.feed)?;
            }
            self.dirty = false;
        }
        Ok(())
    }

    /// The position is kept before and after: in between the two no line is written, so that it fits the one file or
    /// the other.
    fn rotate(&mut self) -> Result<(), End> {
        self.dirty = true;
        self.sync()?;
        if self.file.rotate().map_err(|error| failed(self.args, "rotate", &error))? {
            info!("rotated");
        }
        self.dirty = true;
        self.sync()
    }

    fn reopen(&mut self) -> Result<(), End> {
        self.dirty = true;
        self.sync()?;
        self.file.reopen().map_err(|error| failed(self.args, "open", &error))?;
        info!("opened {} anew", self.args.file.display());
        self.dirty = true;
        self.sync()
    }
}

impl Sink for Writer<'_> {
    fn feed(&mut self) -> &mut Feed {
        &mut self.feed
    }

    fn write(&mut self, items: &[Item]) -> Result<(), End> {
        for item in items {
            let line = match &item.delivery {
                _ if !item.wanted => None,
                Delivery::Event(event) => Some(serde_json::to_vec(&EventJson::from(event))),
                Delivery::Lost(lost) => {
                    let topic = Escaped::text(lost.topic.as_bytes());
                    warn!("lost {} of '{topic}', {} to {}", lost.count(), lost.from, lost.to);
                    Some(serde_json::to_vec(&NoteJson::from(lost)))
                }
                Delivery::Ended(ended) => {
                    let topic = Escaped::text(ended.topic.as_bytes());
                    info!("topic '{topic}' ended after {}: {}", ended.last, ended.reason.as_str());
                    Some(serde_json::to_vec(&NoteJson::from(ended)))
                }
                Delivery::Restarted(restarted) => {
                    warn!("the broker restarted; events may be lost");
                    Some(serde_json::to_vec(&NoteJson::from(restarted)))
                }
                _ => None,
            };
            if let Some(line) = line {
                self.write_line(line)?;
            }
            // Not before: on the way the file may be rotated, and the position kept.
            self.feed.passed(item);
        }
        self.dirty |= !items.is_empty();
        Ok(())
    }
}

//! How a source publishes: values as JSON or bincode, below a prefix, and what it does when there is no broker.

use crate::end::End;
use nlbus::{Bus, Content, PublishReason};
use serde::Serialize;
use tracing::{info, warn};

/// How values are published.
#[derive(Debug, Clone, clap::Args)]
pub struct Publishing {
    /// Levels in front of each topic, like the name of a host [default: none].
    #[arg(long, value_name = "TOPIC", value_parser = prefix)]
    prefix: Option<String>,
    /// What payloads are; a typed subscription decodes either.
    #[arg(long, value_name = "CONTENT", default_value = "json")]
    content: As,
}

/// Longest prefix, bytes: of the 255 of a topic, 100 are left for what the sources put behind it.
const PREFIX_MAX: usize = 155;

/// A prefix below which the broker lets programs publish.
fn prefix(text: &str) -> Result<String, String> {
    let prefix = crate::values::topic(text).map_err(|error| error.to_string())?;
    if nlbus::is_reserved(&prefix) {
        return Err("topics below '$SYS' and 'kernel' are the broker's and the kernel's own; choose another one".into());
    }
    match prefix.len() {
        0..=PREFIX_MAX => Ok(prefix),
        len => Err(format!("it has {len} bytes; at most {PREFIX_MAX} leave room for the topics below it")),
    }
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum As {
    /// Text that other programs read.
    Json,
    /// Smaller, and faster to decode.
    Bincode,
}

/// Where a source's values go.
#[derive(Debug)]
pub struct Outlet {
    bus: Bus,
    how: Publishing,
    epoch: u64,
    /// Values that no broker took since one did.
    missed: u64,
}

impl Outlet {
    /// Publishes to this bus.
    ///
    /// # Errors
    /// When the broker doesn't say which it is.
    pub fn new(bus: Bus, how: Publishing) -> Result<Outlet, End> {
        let epoch = bus.info()?.epoch;
        Ok(Outlet { bus, how, epoch, missed: 0 })
    }

    /// Publishes a value, and returns whether there was a broker to take it. If not, the first such value is logged, and how
    /// many there were, once there is one again.
    ///
    /// # Errors
    /// When the value can't be published to any broker.
    pub fn publish(&mut self, topic: &str, value: &impl Serialize) -> Result<bool, End> {
        let topic = match &self.how.prefix {
            Some(prefix) => format!("{prefix}/{topic}"),
            None => topic.to_owned(),
        };
        let send = || match self.how.content {
            As::Bincode => self.bus.publish_value(&topic, value),
            As::Json => {
                // Of types of this package's own, which have a form as JSON.
                let json = serde_json::to_vec(value).unwrap_or_default();
                self.bus.publish_content(&topic, Content::Json, &json)
            }
        };
        let mut sent = send();
        while let Err(error) = &sent
            && matches!(error.reason(), PublishReason::EarlierRefused { .. })
        {
            warn!("{error}");
            sent = send();
        }
        match sent {
            Err(error) if matches!(error.reason(), PublishReason::NoBroker) => {
                if self.missed == 0 {
                    warn!("{error}");
                }
                self.missed += 1;
                Ok(false)
            }
            sent => {
                sent?;
                self.tell_missed();
                Ok(true)
            }
        }
    }

    /// An outage is over: the next one is logged, too.
    fn tell_missed(&mut self) {
        match std::mem::take(&mut self.missed) {
            0 => {}
            missed => warn!("a broker is here again; {missed} values were published to none"),
        }
    }

    /// Whether a broker is there.
    pub fn has_broker(&self) -> bool {
        self.bus.info().is_ok()
    }

    /// Whether the broker is another one than when this was last asked, or than the outlet began with: it knows nothing
    /// of what was published before.
    pub fn is_new_broker(&mut self) -> bool {
        let Ok(found) = self.bus.info() else { return false };
        if found.epoch == self.epoch {
            return false;
        }
        info!("another broker is here");
        self.tell_missed();
        self.epoch = found.epoch;
        true
    }

    /// Waits until the broker has judged all that was published. Where there is none, nothing is left to be done, and it is
    /// logged.
    ///
    /// # Errors
    /// A refusal.
    pub fn settle(&self) -> Result<(), End> {
        match self.bus.flush() {
            Err(error) if matches!(error.reason(), PublishReason::NoBroker | PublishReason::Unknown) => {
                warn!("{error}");
                Ok(())
            }
            settled => Ok(settled?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_leave_room_and_are_not_reserved() {
        for good in ["host1", "a/b", "kernels", "$other", &"a".repeat(PREFIX_MAX)] {
            assert_eq!(prefix(good).as_deref(), Ok(good));
        }
        for bad in ["", "a/+", "#", "$SYS", "$SYS/a", "kernel", "kernel/a", &"a".repeat(PREFIX_MAX + 1)] {
            assert!(prefix(bad).is_err(), "{bad}");
        }
    }
}

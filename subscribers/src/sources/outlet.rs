//! How a source publishes: values as JSON or bincode, below a prefix, and what it does when there is no broker.

use crate::end::End;
use nlbus::{Bus, Content, PublishReason};
use serde::Serialize;
use tracing::{info, warn};

/// How values are published.
#[derive(Debug, Clone, clap::Args)]
pub struct Publishing {
    /// Levels in front of each topic, like the name of a host [default: none].
    #[arg(long, value_name = "TOPIC", value_parser = crate::values::topic)]
    prefix: Option<String>,
    /// What payloads are; a typed subscription decodes either.
    #[arg(long, value_name = "CONTENT", default_value = "json")]
    content: As,
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

    /// Publishes a value. One that no broker takes is counted and logged, and shows in [`is_new_broker`](Self::is_new_broker).
    ///
    /// # Errors
    /// When the value can't be published to any broker.
    pub fn publish(&mut self, topic: &str, value: &impl Serialize) -> Result<(), End> {
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
            && matches!(error.reason(), PublishReason::EarlierRefused(_))
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
                Ok(())
            }
            sent => Ok(sent?),
        }
    }

    /// Whether the broker is another one than when this was last asked, or than the outlet began with: it knows nothing
    /// of what was published before.
    pub fn is_new_broker(&mut self) -> bool {
        let Ok(found) = self.bus.info() else { return false };
        if found.epoch == self.epoch {
            return false;
        }
        info!("another broker is here; {} values were published to none", std::mem::take(&mut self.missed));
        self.epoch = found.epoch;
        true
    }

    /// Waits until the broker has judged all that was published.
    ///
    /// # Errors
    /// A refusal.
    pub fn flush(&self) -> Result<(), End> {
        Ok(self.bus.flush()?)
    }
}

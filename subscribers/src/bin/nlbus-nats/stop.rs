//! The end, as asynchronous code waits for it: asked for at first, and some time later it can't be put off any more.

use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// How long what is on its way may take after the end was asked for. systemd waits for 90 s.
pub const GRACE: Duration = Duration::from_secs(10);

/// Asks for the end.
#[derive(Debug)]
pub struct Stopper(watch::Sender<Option<Instant>>);

/// Knows whether the end was asked for.
#[derive(Debug, Clone)]
pub struct Stop(watch::Receiver<Option<Instant>>);

/// None was asked for yet.
pub fn stop() -> (Stopper, Stop) {
    let (sender, receiver) = watch::channel(None);
    (Stopper(sender), Stop(receiver))
}

impl Stopper {
    /// Asks for it.
    pub fn ask(&self) {
        self.0.send_replace(Some(Instant::now() + GRACE));
    }
}

impl Stop {
    /// Waits until it is asked for.
    pub async fn asked(&self) {
        // Nobody to ask any more is as good.
        let _ = self.0.clone().wait_for(Option::is_some).await;
    }

    /// Waits until nothing can be put off any more.
    pub async fn over(&self) {
        self.asked().await;
        let deadline = *self.0.borrow();
        if let Some(deadline) = deadline {
            tokio::time::sleep_until(deadline).await;
        }
    }

    /// Whether it was asked for.
    pub fn is_asked(&self) -> bool {
        self.0.borrow().is_some()
    }
}

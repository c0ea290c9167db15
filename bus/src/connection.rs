//! What the handles of one connection have in common.

use crate::publisher::Publisher;
use crate::reactor::{Command, Remote};
use std::sync::Arc;
use std::time::Duration;

/// What all handles of one connection share. The last one to go stops the thread, without waiting for it.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) publisher: Arc<Publisher>,
    pub(crate) remote: Remote,
    pub(crate) patience: Duration,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.remote.tell(Command::Stop);
    }
}

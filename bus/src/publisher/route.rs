//! Where publishes go, and how long they may wait there.

use crate::sys::NetlinkSocket;
use crate::wire::{BrokerKind, Info};
use std::sync::Arc;
use std::time::Instant;

/// Where publishes go.
#[derive(Debug, Clone)]
pub(crate) struct Route {
    pub(super) socket: Arc<NetlinkSocket>,
    pub(super) port: u32,
    /// The broker's. It may be another one by now that nobody has noticed yet.
    pub(super) epoch: u64,
    /// A send waits for room in the broker's queue whatever it is told: the module's does.
    pub(super) always_waits: bool,
}

impl Route {
    /// To a broker, by way of a socket of its protocol.
    pub(crate) fn new(info: &Info, socket: &Arc<NetlinkSocket>) -> Route {
        let always_waits = info.broker == BrokerKind::Module;
        Route { socket: Arc::clone(socket), port: info.publish_port, epoch: info.epoch, always_waits }
    }
}

/// How long a send may wait for room in the broker's queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Not at all.
    Never,
    /// Until then, or as long as it takes. In the module, whose queue the kernel itself empties, as long as that takes.
    Until(Option<Instant>),
}

impl Wait {
    /// As long as it takes.
    pub(crate) const EVER: Wait = Wait::Until(None);

    pub(super) fn is_over(self) -> bool {
        match self {
            Wait::Never => true,
            Wait::Until(deadline) => deadline.is_some_and(|deadline| deadline <= Instant::now()),
        }
    }
}

/// What publishes find.
#[derive(Debug, Clone)]
pub(crate) enum Way {
    /// The broker, or where it was last.
    Open(Route),
    /// No broker, and no socket that would hold on to one.
    Gone,
    /// The bus was closed.
    Closed,
}

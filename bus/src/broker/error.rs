//! Why a user broker doesn't start, or ends by itself.

use std::fmt;
use std::io;

/// A user broker that can't start, or that had to close.
#[derive(Debug)]
#[non_exhaustive]
pub enum BrokerError {
    /// The kernel module serves this network namespace already.
    ModuleLoaded,
    /// The kernel module appeared while the broker ran, and so it closed: clients go on with the module.
    ModuleAppeared,
    /// Another socket has one of the two port ids.
    PortTaken {
        /// The port id for publishes; the next one is for requests.
        port: u32,
    },
    /// A port id that no broker can have: 0 is the kernel's, and the one after it must exist.
    BadPort {
        /// The port id.
        port: u32,
    },
    /// The kernel refused something.
    Io {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        error: io::Error,
    },
}

impl fmt::Display for BrokerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BrokerError::ModuleLoaded => f.write_str(
                "the user broker doesn't start: the module nlbus serves this network namespace; use that, or unload it \
                 (nlbus module unload)",
            ),
            BrokerError::ModuleAppeared => f.write_str(
                "the user broker closed: the module nlbus was loaded and serves this network namespace now; clients \
                 connect to it by themselves",
            ),
            BrokerError::PortTaken { port } => write!(
                f,
                "the user broker doesn't start: another broker runs with port {port} in this network namespace; stop it, \
                 or choose another port"
            ),
            BrokerError::BadPort { port } => {
                write!(
                    f,
                    "the user broker doesn't start: {port} can't be its port; choose one from 1 to {}",
                    u32::MAX - 1
                )
            }
            BrokerError::Io { what, error } => write!(f, "the user broker can't {what}: {error}"),
        }
    }
}

impl std::error::Error for BrokerError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            BrokerError::Io { error, .. } => Some(error),
            _ => None,
        }
    }
}

/// For `map_err`: an [`BrokerError::Io`] of what was tried.
pub(super) fn io_error<E: Into<io::Error>>(what: &'static str) -> impl Fn(E) -> BrokerError {
    move |error| BrokerError::Io { what, error: error.into() }
}

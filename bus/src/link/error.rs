//! Why there is no connection, and what to do about it.

use super::Choice;
use crate::wire::uapi::NLBUS_VERSION;
use crate::wire::{BrokerKind, Refusal};
use nix::errno::Errno;
use std::fmt;
use std::io;

/// No connection to a broker.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConnectError {
    /// Neither the module nor a user broker answers, or not the one that was asked for.
    NoBroker {
        /// Which one was looked for.
        choice: Choice,
        /// The port where a user broker was looked for.
        port: u32,
    },
    /// A broker holds the port, and says nothing.
    Silent {
        /// Which one.
        broker: BrokerKind,
    },
    /// The broker speaks another version of the protocol.
    Version {
        /// Which one.
        broker: BrokerKind,
        /// Its version.
        found: u32,
    },
    /// The broker refused to say what it is.
    Refused(Refusal),
    /// Somebody has the user broker's port who may not be believed: neither root, nor this user, nor who was
    /// [named](crate::Builder::broker_uid).
    Untrusted {
        /// The port that answered.
        port: u32,
        /// Who has it, if the kernel says.
        uid: Option<u32>,
    },
    /// What answers there doesn't speak the protocol.
    NotABroker {
        /// What is wrong with its answer.
        why: &'static str,
    },
    /// The kernel refused something.
    Io {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        error: io::Error,
    },
}

impl ConnectError {
    /// Whether waiting for a broker may help: there is none, or one that is closing.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            ConnectError::NoBroker { .. } => true,
            ConnectError::Refused(refusal) => refusal.errno == Errno::ESHUTDOWN,
            // The module went between its answer and the socket.
            ConnectError::Io { error, .. } => error.raw_os_error() == Some(Errno::EPROTONOSUPPORT as i32),
            _ => false,
        }
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConnectError::NoBroker { choice: Choice::Auto, port } => write!(
                f,
                "no broker: the module nlbus is not loaded and no user broker runs at port {port} in this network \
                 namespace; load the module (modprobe nlbus), or start one (nlbus broker)"
            ),
            ConnectError::NoBroker { choice: Choice::Module, .. } => {
                f.write_str("no broker: the module nlbus is not loaded; load it (modprobe nlbus)")
            }
            ConnectError::NoBroker { choice: Choice::User, port } => write!(
                f,
                "no broker: no user broker runs at port {port} in this network namespace; start one (nlbus broker)"
            ),
            ConnectError::Silent { broker } => {
                write!(
                    f,
                    "{} is there and doesn't answer; is it stopped? continue it (kill -CONT), or end it and start another one",
                    name(*broker)
                )
            }
            ConnectError::Version { broker, found } => write!(
                f,
                "{} speaks version {found} of the protocol, this program speaks {NLBUS_VERSION}; install the same \
                 version of both",
                name(*broker)
            ),
            ConnectError::Refused(refusal) => write!(f, "the broker refused to say what it is: {refusal}"),
            ConnectError::Untrusted { port, uid } => {
                let who = uid.map_or("somebody unknown".to_owned(), |uid| format!("user {uid}"));
                write!(
                    f,
                    "{who} has the user broker's port {port}, and is neither root nor this user; if that is your broker, say \
                     so (Builder::broker_uid, NLBUS_BROKER_UID), else end it"
                )
            }
            ConnectError::NotABroker { why } => {
                write!(f, "what answers at the broker's port doesn't speak the protocol: {why}")
            }
            ConnectError::Io { what, error } => write!(f, "can't {what}: {error}"),
        }
    }
}

impl std::error::Error for ConnectError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ConnectError::Io { error, .. } => Some(error),
            ConnectError::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }
}

fn name(broker: BrokerKind) -> &'static str {
    match broker {
        BrokerKind::Module => "the module nlbus",
        BrokerKind::User => "the user broker",
    }
}

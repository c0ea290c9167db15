//! How a verb, or a subscriber, ends when it doesn't just finish: the exit status, and the line that says why.

use crate::text::Escaped;
use nix::errno::Errno;
use nlbus::{BrokerError, ConnectError, PublishError, Refusal, RequestError, SubscribeError};
use std::env;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// An end before the verb was done.
#[derive(Debug)]
pub enum End {
    /// What failed, why, and the remedy.
    Failed(String),
    /// What is wrong with the arguments or the environment.
    Usage(String),
    /// What had not come when the time was over.
    TimedOut(String),
    /// SIGINT or SIGTERM.
    Interrupted,
    /// Whoever read the output has enough of it.
    PipeClosed,
}

/// Exit status of [`End::TimedOut`]: mosquitto_sub's.
const TIMED_OUT: u8 = 27;

/// Exit status of [`End::Interrupted`]: what a shell reports of a program that SIGINT ended.
pub const INTERRUPTED: u8 = 130;

impl End {
    /// What became of writing to standard output.
    pub fn output(error: io::Error) -> End {
        match error.kind() {
            io::ErrorKind::BrokenPipe => End::PipeClosed,
            _ => {
                End::Failed(format!("can't write to standard output: {error}; make room there, or direct it elsewhere"))
            }
        }
    }

    /// What came of asking to be told of signals, which takes descriptors.
    pub fn signals(error: io::Error) -> End {
        End::Failed(format!("can't handle signals: {error}; is the limit of open files too low (ulimit -n)?"))
    }

    /// Says why on standard error, in one line, and gives the exit status.
    pub fn report(self, quiet: bool) -> ExitCode {
        let (status, line) = match self {
            End::Failed(line) => (1, line),
            End::Usage(line) => (2, line),
            End::TimedOut(line) => (TIMED_OUT, line),
            End::Interrupted => return ExitCode::from(INTERRUPTED),
            End::PipeClosed => return ExitCode::SUCCESS,
        };
        if !quiet {
            say(&line);
        }
        ExitCode::from(status)
    }
}

/// Says something on standard error, in one line. There is nobody to tell if that fails.
pub fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{}: {}", program(), Escaped::text(line.as_bytes()));
}

/// The name that this program was started by.
fn program() -> String {
    let path = env::args_os().next().map(PathBuf::from);
    let name = path.as_deref().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
    name.unwrap_or_else(|| "nlbus".into())
}

/// An error that names no remedy, because it can have many causes.
fn obscure(error: &dyn std::error::Error) -> End {
    End::Failed(format!("{error}; nlbus doctor looks for the cause"))
}

impl From<ConnectError> for End {
    fn from(error: ConnectError) -> End {
        match error {
            // Only the module ever refuses to say what it is; a user broker that closes is gone.
            ConnectError::Refused(Refusal { errno: Errno::ESHUTDOWN, .. }) => End::Failed(
                "no broker: the module nlbus is retired; unload it (nlbus module unload), then load it anew (nlbus module load) \
                 or start a user broker (nlbus broker)"
                    .into(),
            ),
            ConnectError::Refused(_) | ConnectError::NotABroker { .. } | ConnectError::Io { .. } => obscure(&error),
            _ => End::Failed(error.to_string()),
        }
    }
}

impl From<SubscribeError> for End {
    fn from(error: SubscribeError) -> End {
        End::Failed(error.to_string())
    }
}

impl From<PublishError> for End {
    fn from(error: PublishError) -> End {
        End::Failed(error.to_string())
    }
}

impl From<RequestError> for End {
    fn from(error: RequestError) -> End {
        match error {
            RequestError::Malformed(_) => obscure(&error),
            RequestError::Refused(Refusal { errno: Errno::ENOENT, .. }) => {
                End::Failed(format!("{error}; nlbus topics lists those that there are"))
            }
            RequestError::Refused(Refusal { errno: Errno::EACCES | Errno::EPERM, .. }) => {
                End::Failed(format!("{error}; its owner may, and root: nlbus topics shows whose it is"))
            }
            _ => End::Failed(error.to_string()),
        }
    }
}

impl From<BrokerError> for End {
    fn from(error: BrokerError) -> End {
        match error {
            BrokerError::Io { .. } => obscure(&error),
            _ => End::Failed(error.to_string()),
        }
    }
}

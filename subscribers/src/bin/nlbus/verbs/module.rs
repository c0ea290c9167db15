//! `nlbus module`: the kernel module comes and goes.

use humantime::Duration as HumanDuration;
use nix::errno::Errno;
use nix::kmod::{DeleteModuleFlags, delete_module};
use nlbus::{Choice, ConnectError, retire_module};
use nlbus_subscribers::clients::{Client, clients};
use nlbus_subscribers::end::{End, say};
use nlbus_subscribers::holders::{Holders, MODULE};
use nlbus_subscribers::text::Escaped;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// Load the kernel module, ask its clients to let go of it, unload it.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Load it (modprobe nlbus), with parameters like heartbeat_ms=200.
    Load {
        #[arg(value_name = "PARAMETER=VALUE")]
        parameters: Vec<String>,
    },
    /// End its buses, in all network namespaces: clients let go of it and wait for the next broker.
    Retire {
        /// How long to wait for them, like 500ms, 10s or 2m. Who then still holds on is listed.
        #[arg(long, value_name = "DUR", default_value = "10s")]
        timeout: HumanDuration,
    },
    /// Unload it, which takes that nobody holds on to it.
    Unload,
}

/// Between looks at who still holds on.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

pub fn run(args: &Args) -> Result<(), End> {
    match &args.verb {
        Verb::Load { parameters } => load(parameters),
        Verb::Retire { timeout } => retire((*timeout).into()),
        Verb::Unload => unload(),
    }
}

fn load(parameters: &[String]) -> Result<(), End> {
    // modprobe calls that a success, whatever the parameters are and whether the module still serves anybody.
    if Path::new(MODULE).exists() {
        return match nlbus::Bus::builder().broker(Choice::Module).connect() {
            Err(ConnectError::Refused(refusal)) if refusal.errno == Errno::ESHUTDOWN => {
                Err(End::Failed("the module is loaded, and retired; unload it first: nlbus module unload".into()))
            }
            _ if !parameters.is_empty() => Err(End::Failed(
                "the module is loaded already, and takes parameters only then; nlbus module retire and unload come first"
                    .into(),
            )),
            _ => Ok(()),
        };
    }
    let modprobe = Command::new("modprobe").arg("nlbus").args(parameters).output();
    let output = modprobe.map_err(|error| End::Failed(format!("can't run modprobe: {error}; install kmod")))?;
    if output.status.success() {
        return Ok(());
    }
    let why = String::from_utf8_lossy(&output.stderr);
    let why = why.trim();
    Err(End::Failed(format!(
        "can't load the module: {why}; it takes root, and nlbus-dkms to be installed (dmesg says more)"
    )))
}

fn retire(timeout: Duration) -> Result<(), End> {
    match retire_module() {
        Ok(()) => {}
        Err(ConnectError::Refused(refusal)) if refusal.errno == Errno::EPERM => {
            return Err(End::Failed(format!("{refusal}; run it as root")));
        }
        Err(error) => return Err(error.into()),
    }
    // A timeout beyond all time is none.
    let deadline = Instant::now().checked_add(timeout);
    loop {
        let holders = holders()?;
        if holders.is_empty() {
            return Ok(());
        }
        // A module that uses it doesn't let go by itself.
        if holders.sockets == 0 || deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Err(End::Failed(format!("the module is retired, and {}", who_holds_on(&holders))));
        }
        thread::sleep(LOOK_AGAIN);
    }
}

/// What holds on to the module, in all network namespaces.
fn holders() -> Result<Holders, End> {
    Holders::read(Path::new(MODULE)).map_err(|error| End::Failed(error.to_string()))
}

/// Lists on standard error whose sockets hold on, and says what else does and how to go on.
fn who_holds_on(holders: &Holders) -> String {
    let here = protocol().and_then(|protocol| clients(protocol).ok()).unwrap_or_default();
    for client in &here {
        say(&format!("port {} is held by {}", client.socket.portid, holder(client)));
    }
    let mut what = Vec::new();
    if holders.sockets > 0 {
        let elsewhere = holders.sockets.saturating_sub(here.len() as u64);
        what.push(format!(
            "{} sockets in this network namespace and {elsewhere} in others are still open: end the processes that have them",
            here.len()
        ));
    }
    what.extend(Some(holders.remedy()).filter(|remedy| !remedy.is_empty()));
    format!("{}; then: nlbus module unload", what.join("; "))
}

/// The netlink protocol of the module, also of one that is retired and answers nobody.
fn protocol() -> Option<u32> {
    fs::read_to_string(Path::new(MODULE).join("parameters/protocol")).ok()?.trim().parse().ok()
}

fn holder(client: &Client) -> String {
    match &client.process {
        Some((pid, command)) => format!("process {pid} ({})", Escaped::text(command.as_bytes())),
        None => "a process that this user can't see".into(),
    }
}

fn unload() -> Result<(), End> {
    let why = match delete_module(c"nlbus", DeleteModuleFlags::O_NONBLOCK) {
        Ok(()) => return Ok(()),
        Err(Errno::EWOULDBLOCK | Errno::EBUSY) => {
            let holders = holders()?;
            match holders.remedy() {
                remedy if holders.sockets == 0 => remedy,
                remedy => {
                    let also = if remedy.is_empty() { remedy } else { format!("; {remedy}") };
                    format!(
                        "{} sockets are open; ask their owners to let go (nlbus module retire){also}",
                        holders.sockets
                    )
                }
            }
        }
        Err(Errno::ENOENT) => "it isn't loaded, and need not be unloaded".into(),
        Err(Errno::ENOSYS) => "this kernel has no loadable modules; use the user broker (nlbus broker)".into(),
        Err(Errno::EPERM) => "it takes CAP_SYS_MODULE; run it as root".into(),
        Err(errno) => format!("{}; dmesg may say more", errno.desc()),
    };
    Err(End::Failed(format!("can't unload the module: {why}")))
}

//! `nlbus module`: the kernel module comes and goes.

use humantime::Duration as HumanDuration;
use nix::errno::Errno;
use nix::kmod::{DeleteModuleFlags, delete_module};
use nlbus::{BrokerKind, Builder, Bus, Choice, ConnectError, retire_module};
use nlbus_subscribers::clients::{Client, clients};
use nlbus_subscribers::end::{End, say};
use nlbus_subscribers::text::Escaped;
use std::fs;
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
    let protocol = protocol();
    match retire_module() {
        Ok(()) => {}
        Err(ConnectError::Refused(refusal)) if refusal.errno == Errno::EPERM => {
            return Err(End::Failed(format!("{refusal}; run it as root")));
        }
        Err(error) => return Err(error.into()),
    }
    // A timeout beyond all time is none.
    let deadline = Instant::now().checked_add(timeout);
    while holders() > 0 {
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Err(End::Failed(who_holds_on(protocol)));
        }
        thread::sleep(LOOK_AGAIN);
    }
    Ok(())
}

/// The netlink protocol of the module, if it isn't retired already.
fn protocol() -> Option<u32> {
    let bus = Builder::broker(Bus::builder(), Choice::Module).connect().ok()?;
    bus.info().ok().filter(|info| info.broker == BrokerKind::Module).map(|info| info.protocol)
}

/// References to the module: one a socket, in all network namespaces. None where it isn't there any more.
fn holders() -> u64 {
    let count = fs::read_to_string("/sys/module/nlbus/refcnt").ok();
    count.and_then(|count| count.trim().parse().ok()).unwrap_or_default()
}

/// Lists on standard error who holds on, and says how to go on.
fn who_holds_on(protocol: Option<u32>) -> String {
    let here = protocol.and_then(|protocol| clients(protocol).ok()).unwrap_or_default();
    for client in &here {
        say(&format!("port {} is held by {}", client.socket.portid, holder(client)));
    }
    let elsewhere = holders().saturating_sub(here.len() as u64);
    format!(
        "the module is retired, and {} sockets in this network namespace and {elsewhere} in others are still open; end \
         the processes that have them, then: nlbus module unload",
        here.len()
    )
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
            let count = holders();
            format!("{count} sockets are open; ask their owners to let go (nlbus module retire)")
        }
        Err(Errno::ENOENT) => "it isn't loaded".into(),
        Err(Errno::EPERM) => "it takes CAP_SYS_MODULE; run it as root".into(),
        Err(errno) => errno.desc().into(),
    };
    Err(End::Failed(format!("can't unload the module: {why}")))
}

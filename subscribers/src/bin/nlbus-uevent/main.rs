//! `nlbus-uevent`: the kernel's uevents as events, for programs that don't want to listen to netlink themselves.

use clap::Parser;
use crossbeam_channel::{Receiver, bounded, select, tick};
use netlink_sys::protocols::NETLINK_KOBJECT_UEVENT;
use netlink_sys::{Socket, SocketAddr};
use nix::errno::Errno;
use nlbus_subscribers::end::End;
use nlbus_subscribers::service::{self, Connection, Service};
use nlbus_subscribers::sources::outlet::{Outlet, Publishing};
use nlbus_subscribers::sources::uevent::{Uevent, UeventsLost};
use std::io;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;
use tracing::{debug, warn};

/// The kernel's own group; the second one carries what udev made of it.
const KERNEL_GROUP: u32 = 1;

/// The kernel's variables have 2048 bytes (`UEVENT_BUFFER_SIZE`), and the path comes on top.
const DATAGRAM: usize = 1 << 14;

/// Receive buffer, bytes; the kernel grants what it allows.
const RECEIVE_BUFFER: usize = 16 << 20;

/// Uevents that wait in the program, besides those in the socket.
const WAITING: usize = 4096;

/// How often to look whether a broker is there to be told of losses.
const LOOK: Duration = Duration::from_secs(1);

/// Publish the kernel's uevents.
#[derive(Debug, Parser)]
#[command(name = env!("CARGO_BIN_NAME"), version, after_help = AFTER_HELP)]
struct Args {
    #[command(flatten)]
    publishing: Publishing,
    #[command(flatten)]
    connection: Connection,
}

const AFTER_HELP: &str = "\
Topics:
  kernel-uevent/SUBSYSTEM/ACTION  {\"action\",\"devpath\",\"subsystem\",\"seqnum\",\"variables\":{…}}; a part that
                                  the kernel doesn't tell is '-'
  kernel-uevent-lost              {\"overruns\",\"missed\"}: so often, uevents came faster than they could be read, and
                                  so many came while no broker was there, since this program began
The types are nlbus_subscribers::sources::uevent::{Uevent, UeventsLost}.

A network namespace sees the uevents of its own network devices, and the first one those of all others, too.

Examples:
  nlbus-uevent &
  nlbus sub 'kernel-uevent/block/+' 'kernel-uevent/+/remove'

Environment: NLBUS_LOG is the level of this program's own log, like debug or warn [default: info]";

enum Word {
    Datagram(Vec<u8>),
    Overrun,
    Failed(io::Error),
}

fn main() -> ExitCode {
    service::main(run)
}

fn run(args: Args, service: &Service) -> Result<(), End> {
    let bus = service.connect(&args.connection)?;
    let outlet = Outlet::new(bus, args.publishing)?;
    let words = listen().map_err(|error| End::Failed(format!("can't listen to uevents: {error}")))?;
    service.ready();
    let look = tick(LOOK);
    let mut source = Source { outlet, lost: UeventsLost::default(), told: UeventsLost::default() };
    loop {
        select! {
            recv(words) -> word => match word {
                Ok(Word::Datagram(datagram)) => match Uevent::read(&datagram) {
                    Some(uevent) => source.publish(&uevent)?,
                    None => debug!("no uevent: {}", datagram.escape_ascii()),
                },
                Ok(Word::Overrun) => {
                    warn!("uevents came faster than they were read, and some are lost");
                    source.lost.overruns += 1;
                    source.tell_lost()?;
                }
                Ok(Word::Failed(error)) => return Err(End::Failed(format!("can't hear uevents: {error}"))),
                Err(_) => return Err(End::Failed("uevents ended; start the program again".into())),
            },
            // Not only when the next uevent comes, which may be tomorrow.
            recv(look) -> _ => if source.lost != source.told && source.outlet.has_broker() {
                source.tell_lost()?;
            },
            recv(service.stop()) -> _ => return source.outlet.settle(),
        }
    }
}

struct Source {
    outlet: Outlet,
    lost: UeventsLost,
    /// What of it was published.
    told: UeventsLost,
}

impl Source {
    fn publish(&mut self, uevent: &Uevent) -> Result<(), End> {
        // Where some are missing is told in its place.
        if !(self.tell_lost()? && self.outlet.publish(&uevent.topic(), uevent)?) {
            self.lost.missed += 1;
        }
        Ok(())
    }

    /// Publishes what is lost, unless it was. Returns whether a broker was there to be told.
    fn tell_lost(&mut self) -> Result<bool, End> {
        if self.lost != self.told {
            if !self.outlet.publish("kernel-uevent-lost", &self.lost)? {
                return Ok(false);
            }
            self.told = self.lost.clone();
        }
        Ok(true)
    }
}

fn listen() -> io::Result<Receiver<Word>> {
    let mut socket = Socket::new(NETLINK_KOBJECT_UEVENT)?;
    socket.bind(&SocketAddr::new(0, KERNEL_GROUP))?;
    // As much as is allowed: what doesn't fit is reported.
    let _ = socket.set_rx_buf_sz(RECEIVE_BUFFER);
    let (sender, words) = bounded(WAITING);
    thread::Builder::new().name("uevents".into()).spawn(move || {
        let mut buffer = vec![0; DATAGRAM];
        loop {
            let word = match socket.recv_from(&mut &mut buffer[..], 0) {
                // Only the kernel knows; root may write to this group.
                Ok((_, from)) if from.port_number() != 0 => {
                    debug!("a uevent that isn't the kernel's, of port {}", from.port_number());
                    continue;
                }
                Ok((length, _)) => Word::Datagram(buffer[..length.min(DATAGRAM)].to_vec()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.raw_os_error() == Some(Errno::ENOBUFS as i32) => Word::Overrun,
                Err(error) => Word::Failed(error),
            };
            let failed = matches!(word, Word::Failed(_));
            if sender.send(word).is_err() || failed {
                return;
            }
        }
    })?;
    Ok(words)
}

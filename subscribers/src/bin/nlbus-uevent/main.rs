//! `nlbus-uevent`: the kernel's uevents as events, for programs that don't want to listen to netlink themselves.

use clap::Parser;
use crossbeam_channel::{Receiver, bounded, select};
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
use tracing::{debug, warn};

/// The kernel's own group; the second one carries what udev made of it.
const KERNEL_GROUP: u32 = 1;

/// The kernel's variables have 2048 bytes (`UEVENT_BUFFER_SIZE`), and the path comes on top.
const DATAGRAM: usize = 1 << 14;

/// Receive buffer, bytes; the kernel grants what it allows.
const RECEIVE_BUFFER: usize = 16 << 20;

/// Uevents that wait in the program, besides those in the socket.
const WAITING: usize = 4096;

/// Publish the kernel's uevents.
#[derive(Debug, Parser)]
#[command(version, after_help = AFTER_HELP)]
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
  kernel-uevent-lost              {\"overruns\"}: uevents came faster than they could be read, and some are lost
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
    let mut outlet = Outlet::new(bus, args.publishing)?;
    let words = listen().map_err(|error| End::Failed(format!("can't listen to uevents: {error}")))?;
    service.ready();
    let mut overruns = 0;
    loop {
        select! {
            recv(words) -> word => match word {
                Ok(Word::Datagram(datagram)) => match Uevent::read(&datagram) {
                    Some(uevent) => outlet.publish(&uevent.topic(), &uevent)?,
                    None => debug!("no uevent: {}", datagram.escape_ascii()),
                },
                Ok(Word::Overrun) => {
                    overruns += 1;
                    warn!("uevents came faster than they were read, and some are lost");
                    outlet.publish("kernel-uevent-lost", &UeventsLost { overruns })?;
                }
                Ok(Word::Failed(error)) => return Err(End::Failed(format!("can't hear uevents: {error}"))),
                Err(_) => return Err(End::Failed("uevents ended; start the program again".into())),
            },
            recv(service.stop()) -> _ => return outlet.flush(),
        }
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

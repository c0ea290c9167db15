//! `nlbus broker`: the user broker in the foreground.

use nlbus::Broker;
use nlbus_subscribers::connect;
use nlbus_subscribers::end::End;
use nlbus_subscribers::values;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::low_level::pipe;
use std::io::{self, Write};
use std::os::unix::net::UnixStream;

/// Run the user broker in the foreground, for hosts without the module.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Netlink port id for publishes, and requests go to the next one; NLBUS_PORT or 1852596852 unless given.
    #[arg(long, value_name = "N", value_parser = values::port)]
    port: Option<u32>,
    /// Who may read and write topics that are created without a mode, as chmod(1) has it; all unless given.
    #[arg(long, value_name = "MODE", value_parser = values::mode)]
    topic_mode: Option<u32>,
}

pub fn run(args: &Args) -> Result<(), End> {
    let stop = stopped_by_signals().map_err(|error| End::Failed(format!("can't handle signals: {error}")))?;
    let mut builder = Broker::builder();
    if let Some(port) = args.port.map_or_else(connect::port, |port| Ok(Some(port)))? {
        builder = builder.port(port);
    }
    if let Some(mode) = args.topic_mode {
        builder = builder.topic_mode(mode);
    }
    let broker = builder.bind()?;
    // Scripts wait for this line. A broker whose output nobody reads is a broker all the same.
    let _ = writeln!(io::stdout(), "ready at port {}, epoch {}", broker.port(), broker.epoch());
    Ok(broker.run(stop)?)
}

/// What becomes readable with SIGINT and SIGTERM.
fn stopped_by_signals() -> io::Result<UnixStream> {
    let (stop, write) = UnixStream::pair()?;
    pipe::register(SIGINT, write.try_clone()?)?;
    pipe::register(SIGTERM, write)?;
    Ok(stop)
}

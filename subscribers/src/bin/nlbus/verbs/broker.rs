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
    /// How many topics there may be; 16384 unless given.
    #[arg(long, value_name = "N")]
    topics: Option<u32>,
    /// What the histories of all topics may keep together, like 64MiB, which it is unless given.
    #[arg(long, value_name = "BYTES", value_parser = values::size)]
    history: Option<u64>,
    /// How many topics one user may create, root and the broker's user apart; a quarter of all unless given.
    #[arg(long, value_name = "N")]
    user_topics: Option<u32>,
    /// What the histories of the topics that one user created may keep together; a quarter of all unless given.
    #[arg(long, value_name = "BYTES", value_parser = values::size)]
    user_history: Option<u64>,
    /// How many last wills clients may leave; 4096 unless given.
    #[arg(long, value_name = "N")]
    wills: Option<u32>,
    /// How many of these the clients of one user may leave; a quarter of all unless given.
    #[arg(long, value_name = "N")]
    user_wills: Option<u32>,
}

pub fn run(args: &Args) -> Result<(), End> {
    let stop = stopped_by_signals().map_err(End::signals)?;
    let mut builder = Broker::builder();
    if let Some(port) = args.port.map_or_else(connect::port, |port| Ok(Some(port)))? {
        builder = builder.port(port);
    }
    if let Some(mode) = args.topic_mode {
        builder = builder.topic_mode(mode);
    }
    if let Some(topics) = args.topics {
        builder = builder.topics_max(topics);
    }
    if let Some(bytes) = args.history {
        builder = builder.history(bytes);
    }
    if let Some(topics) = args.user_topics {
        builder = builder.user_topics(topics);
    }
    if let Some(bytes) = args.user_history {
        builder = builder.user_history(bytes);
    }
    if let Some(wills) = args.wills {
        builder = builder.wills(wills);
    }
    if let Some(wills) = args.user_wills {
        builder = builder.user_wills(wills);
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

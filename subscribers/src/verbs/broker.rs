//! `nlbus broker`: the user broker in the foreground.

use crate::end::End;

/// Run the user broker, for hosts without the module.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Netlink port id for publishes; requests go to the next one.
    #[arg(long, env = "NLBUS_PORT", value_name = "N", value_parser = crate::values::port, default_value_t = nlbus::wire::uapi::NLBUS_USER_PORT)]
    port: u32,
}

pub fn run(args: &Args) -> Result<(), End> {
    Err(End::Failed(format!("port {}: not yet", args.port)))
}

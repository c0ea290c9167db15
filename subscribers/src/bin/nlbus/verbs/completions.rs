//! `nlbus completions`: what a shell needs to complete this command's arguments.

use clap::Command;
use clap_complete::{Shell, generate};
use nlbus_subscribers::end::End;
use std::io::{self, Write};

/// Print completions for a shell: bash reads them from /usr/share/bash-completion/completions/nlbus, or by
/// `. <(nlbus completions bash)`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which shell.
    shell: Shell,
}

pub fn run(args: &Args, mut command: Command) -> Result<(), End> {
    let mut script = Vec::new();
    let name = command.get_name().to_owned();
    generate(args.shell, &mut command, name, &mut script);
    io::stdout().write_all(&script).map_err(End::output)
}

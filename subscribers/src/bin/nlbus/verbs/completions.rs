//! `nlbus completions`: what a shell sources to complete this command's arguments.

use clap_complete::Shell;
use nlbus_subscribers::end::End;
use nlbus_subscribers::pages;
use std::io::Write as _;

/// Print what a shell has to source to complete this command's arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    /// The shell.
    shell: Shell,
}

const AFTER_HELP: &str = "\
Examples:
  source <(nlbus completions bash)
  nlbus completions zsh > \"${fpath[1]}/_nlbus\"
  nlbus completions fish > ~/.config/fish/completions/nlbus.fish";

pub fn run(args: &Args, command: clap::Command) -> Result<(), End> {
    std::io::stdout().write_all(&pages::completions(args.shell, command)).map_err(End::output)
}

//! Who gets colours: terminals that can show them, of users who want them.

use clap::ColorChoice;
use std::env;

/// What clap is to do, and the log: never where `NO_COLOR` is set or the terminal is a dumb one, also where anstream would
/// have colours, as in CI; else, what it finds out of each stream.
pub fn choice() -> ColorChoice {
    let unwanted = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = env::var_os("TERM").is_none_or(|term| term == "dumb");
    if unwanted || dumb { ColorChoice::Never } else { ColorChoice::Auto }
}

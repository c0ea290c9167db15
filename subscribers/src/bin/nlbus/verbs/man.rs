//! `nlbus man`: the manual pages, for packages.

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};
use nlbus_subscribers::end::End;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Write the manual pages into a folder: nlbus.1, and one for each verb.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The folder; it is made if it isn't there.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

const ENVIRONMENT: [(&str, &str); 4] = [
    (
        "NLBUS_BROKER",
        "auto, module or user: which broker to connect to. auto, which it is unless set, is the module where it is loaded.",
    ),
    ("NLBUS_PORT", "netlink port id of the user broker, 1852596852 unless set."),
    ("NLBUS_BROKER_UID", "number of the user that the user broker runs as, if that is neither root nor oneself."),
    ("NO_COLOR", "if it is set and not empty, nothing is coloured. Nor is what doesn't go to a terminal."),
];

const EXIT_STATUS: [(&str, &str); 5] = [
    ("0", "done. Also where the output is a pipe that was closed."),
    ("1", "failed; one line on standard error says what, why, and what to do."),
    ("2", "the arguments or the environment are wrong."),
    ("27", "the time was over before what was waited for had come (sub --timeout)."),
    ("130", "interrupted by SIGINT or SIGTERM."),
];

pub fn run(args: &Args, command: Command) -> Result<(), End> {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let written = fs::create_dir_all(&args.folder).and_then(|()| pages(&args.folder, &command));
    written.map_err(|error| End::Failed(format!("can't write to '{}': {error}", args.folder.display())))
}

/// The page of a command, and those of its verbs.
fn pages(folder: &Path, command: &Command) -> io::Result<()> {
    let verbs = || command.get_subcommands().filter(|verb| !verb.is_hide_set());
    for verb in verbs() {
        pages(folder, verb)?;
    }
    let mut page = Vec::new();
    let man = Man::new(command.clone()).source(source());
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if verbs().next().is_some() {
        man.render_subcommands_section(&mut page)?;
    }
    section("ENVIRONMENT", &ENVIRONMENT).to_writer(&mut page)?;
    section("EXIT STATUS", &EXIT_STATUS).to_writer(&mut page)?;
    // nlbus-sub, say: it was built.
    let name = command.get_display_name().unwrap_or(command.get_name());
    fs::write(folder.join(format!("{name}.1")), page)
}

fn source() -> String {
    format!("nlbus {}", env!("CARGO_PKG_VERSION"))
}

/// Terms, and what they mean.
fn section(title: &str, terms: &[(&str, &str)]) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", [title]);
    for (term, meaning) in terms {
        roff.control("TP", []);
        roff.text([bold(*term)]);
        roff.text([roman(*meaning)]);
    }
    roff
}

//! Manual pages and completions, made of the same definitions that parse the arguments; and what all programs promise of
//! their environment and exit statuses, which pages and help texts share.

use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};
use std::fmt::Write as _;
use std::io;

/// What a program promises besides its arguments.
#[derive(Debug, Clone, Copy)]
pub struct Conventions {
    /// Variables, and what they are for.
    pub environment: &'static [(&'static str, &'static str)],
    /// Exit statuses, and what they mean.
    pub statuses: &'static [(u8, &'static str)],
}

/// The `nlbus` command.
pub const COMMAND: Conventions = Conventions {
    environment: &[
        ("NLBUS_BROKER", "auto, module or user: which broker to connect to [default: auto]"),
        ("NLBUS_PORT", "netlink port id of the user broker [default: 1852596852]"),
        ("NLBUS_BROKER_UID", "number of the user that the user broker runs as, if not root nor oneself"),
        ("NO_COLOR", "set to anything: no colours, which only a terminal gets in any case"),
    ],
    statuses: &[
        (0, "done (a closed output pipe, too)"),
        (1, "failed"),
        (2, "usage"),
        (27, "timed out"),
        (130, "interrupted"),
    ],
};

/// The programs that run until they are stopped.
pub const PROGRAMS: Conventions = Conventions {
    environment: &[
        COMMAND.environment[0],
        COMMAND.environment[1],
        COMMAND.environment[2],
        ("NLBUS_LOG", "the level of this program's own log, like debug or warn [default: info]"),
        COMMAND.environment[3],
    ],
    statuses: &[
        (0, "done, or stopped by a signal"),
        (1, "failed"),
        (2, "usage"),
        (130, "ended at once by a second signal"),
    ],
};

impl Conventions {
    /// The end of a help text.
    pub fn help(&self) -> String {
        let width = self.environment.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
        let mut text = "Environment:\n".to_owned();
        for (name, what) in self.environment {
            let _ = writeln!(text, "  {name:<width$}  {what}");
        }
        let statuses: Vec<String> = self.statuses.iter().map(|(status, what)| format!("{status} {what}")).collect();
        let _ = write!(text, "\nExit status: {}", statuses.join(", "));
        text
    }

    /// The manual page of a command that is built: of it alone, without its subcommands' pages.
    ///
    /// # Errors
    /// None: it is written to memory.
    pub fn page(&self, command: &Command) -> io::Result<Vec<u8>> {
        let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
        let man = Man::new(command.clone());
        // Not Man's: it leaves out a date that is empty, and what comes behind it moves up. A date would make each build another.
        let source = concat!("nlbus ", env!("CARGO_PKG_VERSION"));
        let mut page = format!(".TH {} 1 \"\" \"{source}\" \"nlbus\"\n", name.to_uppercase()).into_bytes();
        man.render_name_section(&mut page)?;
        man.render_synopsis_section(&mut page)?;
        man.render_description_section(&mut page)?;
        if command.get_arguments().any(|arg| !arg.is_hide_set()) {
            man.render_options_section(&mut page)?;
        }
        if command.has_subcommands() {
            man.render_subcommands_section(&mut page)?;
        }
        self.sections(command, &name).to_writer(&mut page)?;
        Ok(page)
    }

    fn sections(&self, command: &Command, name: &str) -> Roff {
        let mut roff = Roff::new();
        // What these conventions say is a section of its own.
        let notes = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let notes = notes.split("Environment:").next().unwrap_or_default().trim_end().to_owned();
        if !notes.is_empty() {
            roff.control("SH", ["NOTES"]);
            let mut filled = true;
            for line in notes.lines() {
                // Indented lines are to stay as they are: examples and tables.
                if filled == line.starts_with(' ') {
                    roff.control(if filled { "nf" } else { "fi" }, []);
                    filled = !filled;
                }
                if line.is_empty() {
                    roff.control("PP", []);
                } else {
                    roff.text([roman(line)]);
                }
            }
            if !filled {
                roff.control("fi", []);
            }
        }
        roff.control("SH", ["ENVIRONMENT"]);
        for (variable, what) in self.environment {
            roff.control("TP", []).text([bold(*variable)]).text([roman(*what)]);
        }
        roff.control("SH", ["EXIT STATUS"]);
        for (status, what) in self.statuses {
            roff.control("TP", []).text([bold(status.to_string())]).text([roman(*what)]);
        }
        if name != "nlbus" {
            roff.control("SH", ["SEE ALSO"]).text([bold("nlbus"), roman("(1)")]);
        }
        roff
    }

    /// The manual pages of a command and of all its subcommands, by their files' names.
    ///
    /// # Errors
    /// None: they are written to memory.
    pub fn pages(&self, mut command: Command) -> io::Result<Vec<(String, Vec<u8>)>> {
        command = command.disable_help_subcommand(true);
        command.build();
        let mut pages = Vec::new();
        let mut rest = vec![command];
        while let Some(command) = rest.pop() {
            let name = command.get_display_name().unwrap_or_else(|| command.get_name());
            pages.push((format!("{name}.1"), self.page(&command)?));
            rest.extend(command.get_subcommands().filter(|sub| !sub.is_hide_set()).cloned());
        }
        Ok(pages)
    }
}

/// What a shell is to source to complete a command's arguments.
pub fn completions(shell: Shell, mut command: Command) -> Vec<u8> {
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut script);
    script
}

//! `nlbus man`: this command's manual pages, for whoever packs or installs it.

use nlbus_subscribers::end::End;
use nlbus_subscribers::pages::COMMAND;
use std::fs;
use std::path::{Path, PathBuf};

/// Write the manual pages of this command and its verbs.
#[derive(Debug, clap::Args)]
#[command(hide = true)]
pub struct Args {
    /// The folder to write them to; it is made where there is none.
    #[arg(long)]
    dir: PathBuf,
}

pub fn run(args: &Args, command: clap::Command) -> Result<(), End> {
    let failed =
        |path: &Path, error| End::Failed(format!("can't write {}: {error}; give another --dir", path.display()));
    let pages = COMMAND.pages(command).map_err(|error| failed(&args.dir, error))?;
    fs::create_dir_all(&args.dir).map_err(|error| failed(&args.dir, error))?;
    for (name, page) in pages {
        let path = args.dir.join(name);
        fs::write(&path, page).map_err(|error| failed(&path, error))?;
    }
    Ok(())
}

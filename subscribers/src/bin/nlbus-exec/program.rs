//! Whether there is a program to run, found out before the first event needs it.

use nix::errno::Errno;
use nix::unistd::{AccessFlags, access};
use nlbus_subscribers::end::End;
use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::Path;

/// Looks a command up as execvp(3) does.
///
/// # Errors
/// [`End::Failed`] where there is none that may be run.
pub fn find(command: &OsStr) -> Result<(), End> {
    look_up(command).map_err(|error| {
        let remedy = match error.kind() {
            io::ErrorKind::NotFound => "; install it, or give its path",
            io::ErrorKind::PermissionDenied => "; make it executable",
            _ => "",
        };
        End::Failed(format!("can't run {}: {error}{remedy}", command.to_string_lossy()))
    })
}

fn look_up(command: &OsStr) -> io::Result<()> {
    if command.as_encoded_bytes().contains(&b'/') {
        return may_run(Path::new(command));
    }
    let folders = env::var_os("PATH").unwrap_or_else(|| "/bin:/usr/bin".into());
    let mut error: io::Error = Errno::ENOENT.into();
    for path in env::split_paths(&folders).map(|folder| folder.join(command)) {
        match may_run(&path) {
            Ok(()) => return Ok(()),
            // One that may not be run says more than all folders that have none, or can't be looked into.
            Err(why) if path.exists() => error = why,
            Err(_) => {}
        }
    }
    Err(error)
}

fn may_run(path: &Path) -> io::Result<()> {
    if !fs::metadata(path)?.is_file() {
        return Err(Errno::EACCES.into());
    }
    Ok(access(path, AccessFlags::X_OK)?)
}

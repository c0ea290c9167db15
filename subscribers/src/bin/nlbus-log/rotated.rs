//! Rotated files: their names, and how a file gets one without taking it from another.

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// Renames a file to the next number that is free, and returns that.
///
/// # Errors
/// What the system says; [`io::ErrorKind::NotFound`] where the file is gone.
pub fn rename(path: &Path, mut number: u64) -> io::Result<u64> {
    loop {
        number = number.checked_add(1).ok_or_else(|| io::Error::other("no higher number is left"))?;
        match rename_to_free(path, &numbered(path, number)) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            result => return result.map(|()| number),
        }
    }
}

fn rename_to_free(path: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, path, CWD, to, RenameFlags::NOREPLACE) {
        // Some file systems don't know the flag (rename(2)).
        Err(Errno::INVAL | Errno::NOSYS) => match fs::symlink_metadata(to) {
            Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => fs::rename(path, to),
            Err(error) => Err(error),
        },
        result => Ok(result?),
    }
}

/// The name of a rotated file.
fn numbered(path: &Path, number: u64) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(format!(".{number:09}"));
    name.into()
}

/// The rotated files, the oldest first.
///
/// # Errors
/// What the system says.
pub fn list(path: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let Some(name) = path.file_name() else { return Ok(Vec::new()) };
    let mut prefix = name.as_encoded_bytes().to_vec();
    prefix.push(b'.');
    let mut found = Vec::new();
    for entry in fs::read_dir(folder(path))? {
        let entry = entry?;
        let number = entry.file_name();
        let number = number.as_encoded_bytes().strip_prefix(prefix.as_slice());
        let number = number.filter(|digits| digits.len() >= 9 && digits.iter().all(u8::is_ascii_digit));
        if let Some(number) = number.and_then(|digits| str::from_utf8(digits).ok()?.parse().ok()) {
            found.push((number, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

/// The folder that a file is in.
pub fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// So that a name is still there after a crash.
///
/// # Errors
/// What the system says.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(folder(path))?.sync_all()
}

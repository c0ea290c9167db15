//! The state file: where each filter is on the bus, and how much of the log belongs to that.

use crate::file::LogFile;
use nlbus::Positions;
use nlbus_subscribers::end::End;
use nlbus_subscribers::feed::Feed;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// What is kept.
#[derive(Debug, Serialize, Deserialize)]
pub struct Saved {
    /// Number of the newest rotated file.
    pub rotation: u64,
    /// Bytes of the log's file.
    pub length: u64,
    /// By filter.
    pub positions: BTreeMap<String, Positions>,
}

/// The file, and what was in it.
#[derive(Debug)]
pub struct State {
    pub path: PathBuf,
    pub saved: Option<Saved>,
}

impl State {
    /// Reads the file, if there is one.
    ///
    /// # Errors
    /// When it can't be read, or isn't a state file.
    pub fn open(path: &Path) -> Result<State, End> {
        let name = path.display();
        let saved = match fs::read(path) {
            Ok(bytes) => Some(serde_json::from_slice(&bytes).map_err(|error| {
                End::Failed(format!(
                    "{name} is no state file: {error}; remove it to begin anew, or choose another --state"
                ))
            })?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(End::Failed(format!("can't read {name}: {error}; choose another --state"))),
        };
        Ok(State { path: path.to_owned(), saved })
    }

    /// Puts a new file in the old one's place: after a crash there is one or the other.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn save(&mut self, log: &LogFile, feed: &Feed) -> Result<(), End> {
        let positions = feed.positions().map(|(filter, positions)| (filter.as_str().to_owned(), positions.clone()));
        let saved = Saved { rotation: log.rotation(), length: log.len(), positions: positions.collect() };
        self.write(&saved).map_err(|error| End::Failed(format!("can't write {}: {error}", self.path.display())))
    }

    fn write(&self, saved: &Saved) -> io::Result<()> {
        let folder = match self.path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let mut file = NamedTempFile::new_in(folder)?;
        file.write_all(&serde_json::to_vec(saved)?)?;
        file.as_file().sync_data()?;
        file.persist(&self.path)?;
        File::open(folder)?.sync_all()
    }
}

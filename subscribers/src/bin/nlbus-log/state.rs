//! The state file: where each filter is on the bus, and how much of the log belongs to that.

use crate::file::{Extent, LogFile};
use crate::rotated::folder;
use nlbus::{Filter, Positions};
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
    /// What was written by then.
    pub log: Extent,
    /// What was written, and what was left out.
    pub filters: Vec<String>,
    pub exclude: Vec<String>,
    /// By filter. They know the broker's epoch.
    pub positions: BTreeMap<String, Positions>,
}

/// The file, and what was in it.
#[derive(Debug)]
pub struct State {
    pub path: PathBuf,
    /// What was in it when it was opened.
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
    pub fn save(&self, log: &LogFile, feed: &Feed) -> Result<(), End> {
        let positions = feed.positions().map(|(filter, positions)| (filter.as_str().to_owned(), positions.clone()));
        let filters = feed.positions().map(|(filter, _)| filter.as_str().to_owned());
        let saved = Saved {
            log: log.extent(),
            filters: filters.collect(),
            exclude: names(feed.exclude()),
            positions: positions.collect(),
        };
        self.write(&saved).map_err(|error| End::Failed(format!("can't write {}: {error}", self.path.display())))
    }

    fn write(&self, saved: &Saved) -> io::Result<()> {
        let folder = folder(&self.path);
        let mut file = NamedTempFile::new_in(folder)?;
        file.write_all(&serde_json::to_vec(saved)?)?;
        file.as_file().sync_data()?;
        file.persist(&self.path)?;
        File::open(folder)?.sync_all()
    }
}

/// Filters as they are kept.
pub fn names(filters: &[Filter]) -> Vec<String> {
    filters.iter().map(|filter| filter.as_str().to_owned()).collect()
}

//! The state file: how far each durable rule has come, and what has arrived from other hosts. It is forced to disk, and after a
//! crash there is the old one or the new one.

use crate::ledger::Rows;
use nix::fcntl::{Flock, FlockArg};
use nlbus::Positions;
use nlbus_subscribers::end::End;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How often a position is kept, at most. What is sent again after a crash is known again, so nothing depends on it.
const OFTEN: Duration = Duration::from_secs(1);

/// What is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    /// The name that this bridge has on the local bus, for what it keeps there.
    id: String,
    /// By stream, prefix and filter.
    out: BTreeMap<String, OutPlace>,
    /// By stream and subjects.
    r#in: BTreeMap<String, InPlace>,
    arrived: Rows,
}

/// How far a filter's events have gone out.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OutPlace {
    pub positions: Positions,
    /// By topic id, how many events behind the last one that went out were not this host's own.
    pub skipped: BTreeMap<u32, u64>,
}

/// How far a stream's messages have come in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InPlace {
    pub stream: String,
    /// When the stream was created: another one of that name has other numbers.
    pub created: String,
    /// The last message dealt with.
    pub seq: u64,
}

/// A path beside another one.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut beside = path.as_os_str().to_owned();
    beside.push(suffix);
    beside.into()
}

/// A name for a bridge that has none.
pub fn new_id() -> String {
    format!("{:016x}", fastrand::u64(..))
}

/// The file.
#[derive(Debug)]
pub struct State {
    path: PathBuf,
    kept: Mutex<Kept>,
    /// Held against a second bridge.
    _lock: Flock<File>,
}

impl State {
    /// Reads the file, if there is one.
    ///
    /// # Errors
    /// When it can't be read or written, isn't a state file, or another bridge has it.
    pub fn open(path: &Path) -> Result<State, End> {
        let name = path.display();
        let failed = |what: &str, error: &dyn std::fmt::Display| {
            End::Failed(format!("can't {what} {name}: {error}; choose another --state"))
        };
        // The file itself is replaced with each save, and so can't be what is locked.
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(beside(path, ".lock"));
        let lock = Flock::lock(lock.map_err(|error| failed("lock", &error))?, FlockArg::LockExclusiveNonblock);
        let lock = lock.map_err(|_| {
            End::Failed(format!("another nlbus-nats has {name}; end that one, or choose another --state"))
        })?;
        let kept = match fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| {
                End::Failed(format!(
                    "{name} is no state file: {error}; remove it to begin anew, or choose another --state"
                ))
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Kept { id: new_id(), out: BTreeMap::new(), r#in: BTreeMap::new(), arrived: Rows::default() }
            }
            Err(error) => return Err(failed("read", &error)),
        };
        let state = State { path: path.to_owned(), kept: Mutex::new(kept), _lock: lock };
        // The name on the bus must be the same after a crash.
        state.write(&state.kept())?;
        Ok(state)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The name that this bridge has on the local bus.
    pub fn id(&self) -> String {
        self.kept().id.clone()
    }

    /// How far a filter's events had gone out.
    pub fn out_place(&self, key: &str) -> Option<OutPlace> {
        self.kept().out.get(key).cloned()
    }

    /// How far a stream's messages had come in.
    pub fn in_place(&self, key: &str) -> Option<InPlace> {
        self.kept().r#in.get(key).cloned()
    }

    /// What had arrived.
    pub fn arrived(&self) -> Rows {
        self.kept().arrived.clone()
    }

    /// Keeps how far events have gone out.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn keep_out(&self, places: impl IntoIterator<Item = (String, OutPlace)>) -> Result<(), End> {
        let mut kept = self.kept();
        kept.out.extend(places);
        self.write(&kept)
    }

    /// Keeps how far messages have come in, and what arrived by then.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn keep_in(&self, places: impl IntoIterator<Item = (String, InPlace)>, arrived: Rows) -> Result<(), End> {
        let mut kept = self.kept();
        kept.r#in.extend(places);
        kept.arrived = arrived;
        self.write(&kept)
    }

    fn write(&self, kept: &Kept) -> Result<(), End> {
        self.replace(kept).map_err(|error| {
            End::Failed(format!(
                "can't write {}: {error}; make room there, or choose another --state",
                self.path.display()
            ))
        })
    }

    fn replace(&self, kept: &Kept) -> io::Result<()> {
        let folder = match self.path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        // Under the lock there is one that writes it; after a crash it is overwritten.
        let new = beside(&self.path, ".new");
        let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&new)?;
        file.write_all(&serde_json::to_vec(kept)?)?;
        file.sync_data()?;
        fs::rename(&new, &self.path)?;
        File::open(folder)?.sync_all()
    }
}

/// When a position is to be kept.
#[derive(Debug, Default)]
pub struct Pace {
    /// When it is time, if there is something new.
    due: Option<Instant>,
    rest: Duration,
}

impl Pace {
    /// There is something new to keep.
    pub fn changed(&mut self) {
        self.due.get_or_insert_with(|| Instant::now() + OFTEN.max(self.rest));
    }

    /// When it is time.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Keeps it, if it is time or `now` is to be it.
    ///
    /// # Errors
    /// Those of `keep`.
    pub fn keep(&mut self, now: bool, keep: impl FnOnce() -> Result<(), End>) -> Result<(), End> {
        let is_due = self.due.is_some_and(|due| now || due <= Instant::now());
        if !is_due {
            return Ok(());
        }
        let start = Instant::now();
        keep()?;
        // Of a large file's time, a twentieth.
        self.rest = start.elapsed() * 20;
        self.due = None;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_there_again_and_one_bridge_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let state = State::open(&path).unwrap();
        let place = InPlace { stream: "S".into(), created: "then".into(), seq: 7 };
        state.keep_in([("S a.>".to_owned(), place.clone())], Rows::default()).unwrap();
        state
            .keep_out([("S a".to_owned(), OutPlace { positions: Positions::default(), skipped: [(5, 2)].into() })])
            .unwrap();
        assert!(matches!(State::open(&path), Err(End::Failed(why)) if why.contains("another nlbus-nats")));
        let id = state.id();
        drop(state);
        let again = State::open(&path).unwrap();
        assert_eq!((again.id(), again.in_place("S a.>")), (id, Some(place)));
        assert_eq!(again.out_place("S a").unwrap().skipped, [(5, 2)].into());
        assert!(again.out_place("S b").is_none());
    }

    #[test]
    fn what_is_no_state_file_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        fs::write(&path, "precious").unwrap();
        assert!(matches!(State::open(&path), Err(End::Failed(why)) if why.contains("no state file")));
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }
}

//! What keeps the kernel module from being unloaded, as sysfs says.

use std::fs;
use std::io;
use std::path::Path;

/// The module's folder in sysfs, while it is loaded.
pub const MODULE: &str = "/sys/module/nlbus";

/// What holds on to a module.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Holders {
    /// Open sockets, in all network namespaces.
    pub sockets: u64,
    /// Kernel modules that use its symbols.
    pub modules: Vec<String>,
}

impl Holders {
    /// Of the module with this folder in sysfs: nothing holds one that isn't loaded.
    ///
    /// # Errors
    /// When its reference count can't be read or isn't one, as in a kernel that never unloads modules.
    pub fn read(module: &Path) -> io::Result<Holders> {
        let file = module.join("refcnt");
        let count = match fs::read_to_string(&file) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::NotFound && !module.exists() => return Ok(Holders::default()),
            Err(error) => return Err(because(&file, &error)),
        };
        let count: u64 = count.trim().parse().map_err(|_| because(&file, "it isn't a number"))?;
        let folder = module.join("holders");
        let modules = match fs::read_dir(&folder) {
            Ok(entries) => entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect(),
            // It went meanwhile, or no module ever used one of its symbols.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        };
        let mut modules: Vec<String> = modules.map_err(|error| because(&folder, error))?;
        modules.sort_unstable();
        // Each of them has one reference, each socket another one.
        Ok(Holders { sockets: count.saturating_sub(modules.len() as u64), modules })
    }

    /// Whether nothing does.
    pub fn is_empty(&self) -> bool {
        self.sockets == 0 && self.modules.is_empty()
    }

    /// What is to be done about the modules; empty without any.
    pub fn remedy(&self) -> String {
        match &self.modules[..] {
            [] => String::new(),
            [one] => format!("the module {one} uses it: rmmod {one} first"),
            many => format!("the modules {} use it: rmmod them first", many.join(", ")),
        }
    }
}

fn because(path: &Path, why: impl std::fmt::Display) -> io::Error {
    io::Error::other(format!("can't tell who holds on to the module: {}: {why}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A module's folder as sysfs would show it.
    fn folder(refcnt: &str, holders: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("refcnt"), refcnt).unwrap();
        for holder in holders {
            fs::create_dir_all(folder.path().join("holders").join(holder)).unwrap();
        }
        folder
    }

    #[test]
    fn modules_that_use_it_are_no_sockets() {
        let module = folder("5\n", &["b", "a"]);
        let holders = Holders::read(module.path()).unwrap();
        assert_eq!(holders, Holders { sockets: 3, modules: vec!["a".into(), "b".into()] });
        assert_eq!(holders.remedy(), "the modules a, b use it: rmmod them first");
        let module = folder("1\n", &["a"]);
        let holders = Holders::read(module.path()).unwrap();
        assert_eq!((holders.sockets, holders.is_empty()), (0, false));
        assert_eq!(holders.remedy(), "the module a uses it: rmmod a first");
        assert!(Holders::read(folder("0\n", &[]).path()).unwrap().is_empty());
    }

    #[test]
    fn nothing_holds_a_module_that_is_not_there() {
        let nowhere = tempfile::tempdir().unwrap().path().join("nlbus");
        assert!(Holders::read(&nowhere).unwrap().is_empty());
    }

    #[test]
    fn a_count_that_can_not_be_read_is_not_none() {
        assert!(Holders::read(folder("many\n", &[]).path()).is_err());
        // A kernel without unloading has no such file.
        let module = tempfile::tempdir().unwrap();
        let error = Holders::read(module.path()).unwrap_err();
        assert!(error.to_string().contains("refcnt"), "{error}");
    }
}

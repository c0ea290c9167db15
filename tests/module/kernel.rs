//! Loading and unloading, and what the kernel has to say about it.

use nix::errno::Errno;
use nix::kmod::{DeleteModuleFlags, ModuleInitFlags, delete_module, finit_module};
use nix::libc::O_NONBLOCK;
use nlbus_tests::wait_for;
use std::env;
use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The same with another version of the protocol.
pub(crate) const OTHER_VERSION: &str = "nlbus-other-version.ko";
/// The same with another version of its own.
pub(crate) const NEXT: &str = "nlbus-next.ko";
pub(crate) const MODULE: &str = "nlbus.ko";

/// Loads a module.
///
/// # Errors
/// As `finit_module(2)`, which passes on what the module's init says.
pub(crate) fn load(file: &str, parameters: &str) -> nix::Result<()> {
    let folder = env::var_os("NLBUS_MODULES").map_or_else(|| PathBuf::from("/lib/nlbus"), PathBuf::from);
    let file = File::open(folder.join(file)).unwrap_or_else(|error| panic!("{}: {error}", folder.join(file).display()));
    finit_module(&file, &CString::new(parameters).expect("no NUL"), ModuleInitFlags::empty())
}

/// Unloads the module.
///
/// # Errors
/// As `delete_module(2)`: `EWOULDBLOCK` while somebody has a socket open; `rmmod` calls that `EBUSY`.
pub(crate) fn unload() -> nix::Result<()> {
    unload_named("nlbus")
}

/// Unloads a module by its name.
///
/// # Errors
/// As `delete_module(2)`.
pub(crate) fn unload_named(name: &str) -> nix::Result<()> {
    delete_module(&CString::new(name).expect("no NUL"), DeleteModuleFlags::O_NONBLOCK)
}

pub(crate) fn is_loaded() -> bool {
    Path::new("/sys/module/nlbus").exists()
}

/// Unloads the module as soon as the sockets of those who were just dropped are closed.
pub(crate) fn unload_at_last() {
    wait_for("the module to be let go", || match unload() {
        Ok(()) => Some(()),
        Err(Errno::EWOULDBLOCK | Errno::EBUSY) => None,
        Err(errno) => panic!("unload: {errno}"),
    });
    assert!(!is_loaded());
}

/// Loads the module with these parameters, unloading it first if need be.
pub(crate) fn reload(parameters: &str) {
    absent();
    load(MODULE, parameters).unwrap_or_else(|errno| panic!("load with '{parameters}': {errno}"));
}

/// Makes sure that no module is there.
pub(crate) fn absent() {
    if is_loaded() {
        unload_at_last();
    }
}

/// The kernel's messages from now on.
pub(crate) struct KernelLog(File);

/// `syslog(2)`: what is below is a warning or worse, and this itself is what somebody should notice.
const NOTICE: u32 = 5;

/// Said once of the first module that was built outside the kernel, and true; and when the machine stood still, which an
/// emulated one does where its host has other work.
const UNAVOIDABLE: [&str; 3] =
    ["loading out-of-tree module taints kernel", "module verification failed: signature", "hrtimer: interrupt took"];

impl KernelLog {
    pub(crate) fn from_now() -> KernelLog {
        let mut file = OpenOptions::new().read(true).custom_flags(O_NONBLOCK).open("/dev/kmsg").expect("/dev/kmsg");
        file.seek(SeekFrom::End(0)).expect("the end of the log");
        KernelLog(file)
    }

    /// Messages above the level `info`, but for the unavoidable ones.
    pub(crate) fn loud(&mut self) -> Vec<String> {
        let of = |(priority, message): (u32, String)| {
            let counts = priority <= NOTICE && !UNAVOIDABLE.iter().any(|known| message.contains(known));
            counts.then(|| format!("<{priority}> {message}"))
        };
        self.records().into_iter().filter_map(of).collect()
    }

    /// All messages since it was last asked.
    pub(crate) fn all(&mut self) -> Vec<String> {
        self.records().into_iter().map(|(_, message)| message).collect()
    }

    /// Messages, each with its level.
    fn records(&mut self) -> Vec<(u32, String)> {
        let mut records = Vec::new();
        let mut record = [0; 8192];
        loop {
            // A record a call.
            let len = match self.0.read(&mut record) {
                Ok(len) => len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return records,
                // Overwritten before it was read.
                Err(error) if error.raw_os_error() == Some(Errno::EPIPE as i32) => {
                    records.push((NOTICE, "messages were lost".into()));
                    continue;
                }
                Err(error) => panic!("/dev/kmsg: {error}"),
            };
            let text = String::from_utf8_lossy(&record[..len]);
            let (prefix, message) = text.split_once(';').unwrap_or(("", &text));
            let priority: u32 = prefix.split(',').next().and_then(|number| number.parse().ok()).unwrap_or(0);
            records.push((priority % 8, message.trim_end().to_owned()));
        }
    }
}
